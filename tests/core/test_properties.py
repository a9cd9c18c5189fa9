"""Random files of any mix: nothing crashes, nothing is lost without being named, sums are right."""

import math
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import Blend, Lora, LoraError, Output, RankRule, blend, convert, resize, select
from core.storage.files import open_tensors
from core.storage.sinks import FileSink
from tests.helpers import (
    KOHYA,
    PAIRS,
    assert_close,
    best_error,
    dense,
    error,
    lora,
    randn,
    same_bits,
    weighted,
)

pytestmark = pytest.mark.slow

quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Two files draw from the same names, so that most pairs share some; each has one shape.
SHAPES = {
    "net.0.linear": (12, 10),
    "net.0.wide": (4, 30),
    "net.1.conv": (6, 5, 3, 3),
    "net.1.point": (7, 6, 1, 1),
    "net.2.line": (5, 4, 3),
    "net.10.volume": (4, 3, 2, 2, 2),
}
NAMES = st.sampled_from(sorted(SHAPES))
DTYPES = st.sampled_from(
    [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
ALPHA_DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
UNKNOWN = st.sampled_from(["table", "net.0.linear.scale", "step", "net.9.alpha"])
WEIGHTS = st.sampled_from([-2.0, -0.5, 0.25, 1.0, 1.7])


@st.composite
def alphas(draw):
    if draw(st.booleans()):
        return None
    value = torch.tensor(draw(st.sampled_from([0.5, 1.0, 4.0, 1.0004])))
    return value.reshape(draw(st.sampled_from([(), (1,)]))).to(draw(ALPHA_DTYPES))


@st.composite
def modules(draw, name, seed):
    """One weight, as a LoRA in some spelling or as a difference, perhaps with a bias."""
    shape, dtype = SHAPES[name], draw(DTYPES)
    result = {}
    if draw(st.integers(0, 4)):
        mid = len(shape) > 3 and draw(st.booleans())
        flat = set(shape[2:]) == {1} and not mid and draw(st.booleans())
        pair = KOHYA if mid else draw(st.sampled_from(PAIRS))
        rank = draw(st.integers(1, 6))
        result |= lora(name, shape, rank, pair, draw(alphas()), dtype, mid, seed, flat)
    else:
        result[name + ".diff"] = randn(shape, seed).to(dtype)
    if draw(st.integers(0, 3)) == 0:
        result[name + ".diff_b"] = randn(shape[:1], seed, "bias").to(dtype)
    return result


@st.composite
def files(draw, seed=0):
    result = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        result |= draw(modules(name, (seed, name)))
    if draw(st.booleans()):
        norm = {"net.3.norm.w_norm": randn((6,), seed), "net.3.norm.b_norm": randn((6,), seed, 1)}
        result |= norm
    for key in draw(st.lists(UNKNOWN, max_size=2, unique=True)):
        result[key] = torch.arange(3) if key != "net.9.alpha" else torch.tensor(2.0)
    return result


def accounted(edited, *inputs) -> None:
    """Every tensor of every input belongs to a module or is named by its key, in its report."""
    report = edited.report
    modules = {row.module: row for row in report.modules}
    for tensors in inputs:
        known = Lora(tensors)
        for key in tensors:
            module = next((m for m in known.modules.values() if key in m.stored), None)
            if module is not None:
                assert module.canonical in modules or module.canonical in report.dropped, key
                continue
            named = key in report.carried or any(key in dropped for dropped in report.dropped)
            assert named, key
            assert key in edited.lora or key not in report.carried
    # And nothing is written that comes from nowhere.
    written = Lora(edited.lora)
    names = {row.module for row in report.kept}
    assert {module.canonical for module in written.modules.values()} == names
    assert set(written.other) == set(report.carried)


@quick
@given(files(1), files(2), WEIGHTS, WEIGHTS, st.sampled_from(["full", 2, 50]))
def test_a_blend_of_any_two_files(first, second, w1, w2, rank):
    if not dense(first).keys() & dense(second).keys():
        try:
            blend(first, second, Blend((w1, w2), rank))
        except LoraError as refused:
            assert "share no module" in str(refused)
            return
        raise AssertionError("two files without a common module were blended")
    output = Output(dtype="fp32")
    edited = blend(first, second, Blend((w1, w2), rank), output)
    accounted(edited, first, second)
    exact, found = weighted(first, second, w1, w2), dense(edited.lora)
    assert found.keys() == exact.keys()
    for row in edited.report.kept:
        limit = 0.0
        if rank != "full" and row.rank is not None:
            limit = best_error(exact[row.module], rank)
            assert row.rank <= max(rank, 1)
        assert error(found[row.module], exact[row.module]) <= limit * 1.001 + 1e-5
        assert math.isclose(row.norm, float(exact[row.module].norm()), rel_tol=1e-4)


@quick
@given(files())
def test_any_file_written_again_is_itself(tensors):
    for edited in (convert(tensors, Output()), select(tensors, "*")[0]):
        assert same_bits(edited.lora, tensors)
        accounted(edited, tensors)


@quick
@given(files(), st.integers(1, 3))
def test_resizing_any_file(tensors, rank):
    edited = resize(tensors, RankRule("rank", rank), output=Output(dtype="fp32"))
    accounted(edited, tensors)
    exact, found = dense(tensors), dense(edited.lora)
    assert found.keys() == exact.keys()
    for row in edited.report.modules:
        limit = best_error(exact[row.module], row.rank) if row.rank is not None else 0.0
        assert row.rank is None or row.rank <= rank
        assert error(found[row.module], exact[row.module]) <= limit * 1.001 + 1e-5


@quick
@given(files(), st.data())
def test_selecting_from_any_file_parts_it(tensors, data):
    names = sorted([*Lora(tensors).modules, *Lora(tensors).other])
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    exact = {name: update for name, update in dense(tensors).items()}
    try:
        kept, rest = select(tensors, ",".join(chosen), rest=Output())
    except LoraError as refused:
        assert re.search("leaves no module|takes every module", str(refused))
        return
    # A norm's bias that is parted from its weight gets the name that ComfyUI reads without it.
    written, stored = (
        {key.replace(".b_norm", ".diff_b"): tensor for key, tensor in file.items()}
        for file in (kept.lora | rest.lora, tensors)
    )
    assert same_bits(written, stored)
    assert not kept.lora.keys() & rest.lora.keys()
    assert dense(kept.lora).keys() | dense(rest.lora).keys() == exact.keys()


@quick
@given(files())
def test_any_file_survives_the_disk(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("any") / "x.safetensors"
    with FileSink(path, reserve=8) as sink:
        for key, tensor in tensors.items():
            sink.put(key, tensor)
        sink.finish({})
    opened = open_tensors(path)
    assert same_bits({key: opened[key] for key in opened.info}, tensors)
    settings = Blend((0.5,), 2)
    assert same_bits(blend(path, None, settings).lora, blend(tensors, None, settings).lora)


@quick
@given(files(), WEIGHTS)
def test_scaling_twice_is_scaling_once(tensors, weight):
    once = blend(tensors, None, Blend((weight,), "full"), Output(dtype="fp32")).lora
    back = blend(once, None, Blend((1 / weight,), "full")).lora
    assert_close(dense(back), dense(tensors))
