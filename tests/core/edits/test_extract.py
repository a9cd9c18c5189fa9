"""Extract, against the models themselves in float64.

Also of whole.py, curve.py: how whole matrices are cut, and what other ranks would keep.
"""

import pytest
import torch
from safetensors.torch import save_file

from core import (
    Cancelled,
    Compute,
    Dense,
    FileError,
    Lora,
    LoraError,
    MismatchError,
    Output,
    RankRule,
    SettingError,
    convert,
    extract,
)
from tests.comfyui.models import flux
from tests.core.kinds import CPU
from tests.core.reading.test_base_model import as_diffusers
from tests.helpers import error, files_in, randn

NAME = "double_blocks.0.img_attn.proj.weight"
FULL, ENERGY, KNEE = RankRule("full"), RankRule("energy", 0.999), RankRule("knee")


def model(**more: torch.Tensor) -> dict[str, torch.Tensor]:
    """Some weights of a Flux: square, fused, wide, and vectors."""
    shapes = {
        NAME: (96, 96),
        "double_blocks.0.img_attn.qkv.weight": (288, 96),
        "double_blocks.0.img_attn.qkv.bias": (288,),
        "double_blocks.0.img_attn.norm.query_norm.scale": (32,),
        "single_blocks.0.linear2.weight": (96, 480),
        "final_layer.adaLN_modulation.1.weight": (192, 96),
    }
    return {key: randn(shape, key) / shape[-1] ** 0.5 for key, shape in shapes.items()} | more


def with_lora(base: dict[str, torch.Tensor], rank: int, size: float = 1e-2):
    """(the base with a change of this rank in every matrix, the change)."""
    change = {
        key: size * randn((len(w), rank), key, "u") @ randn((rank, w.shape[1]), key, "v") / rank
        for key, w in base.items()
        if w.ndim > 1
    }
    return {key: w + change[key] if key in change else w for key, w in base.items()}, change


def changes(lora, **reading) -> dict[str, torch.Tensor]:
    """What the LoRA adds to each weight, by the model's key without its ending, in float64."""
    found = {}
    for module in Lora(lora, **reading).modules.values():
        update = module.update(CPU, torch.float64)
        found[module.canonical] = update.values if isinstance(update, Dense) else update.dense()
    return found


def tuned(base: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every weight changed, with a spectrum that falls slowly."""
    return {key: w + 0.01 * randn(w.shape, key, "tuned") for key, w in base.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rule", [KNEE, ENERGY], ids=str)
def test_a_difference_that_is_a_lora_comes_back_at_its_own_rank(dtype, rule):
    base = {key: w.to(dtype) for key, w in model().items()}
    after, change = with_lora({key: w.float() for key, w in base.items()}, 5)
    after = {key: w.to(dtype) for key, w in after.items()}
    extracted = extract(after, base, rule, output=Output(dtype="fp32"))
    assert {row.rank for row in extracted.report.kept} == {5}
    ours = changes(extracted.lora)
    for key, exact in change.items():
        rounded = float((after[key].double() - base[key].double() - exact).norm() / exact.norm())
        assert error(ours[key.removesuffix(".weight")], exact) < 0.7 * rounded + 1e-5, key


@pytest.mark.parametrize("method", ["randomised", "exact"])
def test_the_cut_is_nearly_the_optimum_and_the_report_is_true(method):
    base = model()
    after = tuned(base)
    extracted = extract(after, base, RankRule("rank", 6), method=method)
    ours = changes(extracted.lora)
    assert len(ours) == 4 and {t.dtype for t in extracted.lora.values()} == {torch.float32}
    for row in extracted.report.kept:
        exact = after[f"{row.module}.weight"].double() - base[f"{row.module}.weight"].double()
        best = torch.linalg.svdvals(exact)[6:].norm() / exact.norm()
        lost = error(ours[row.module], exact)
        assert row.rank == 6 and best * (1 - 1e-5) <= lost <= best * (
            1.03 if method[0] == "r" else 1 + 1e-5
        )
        assert row.relative_error == pytest.approx(lost, rel=1e-3)


def test_at_full_rank_nothing_is_lost_and_vectors_come_where_they_are_asked_for():
    base = model()
    after = tuned(base)
    extracted = extract(after, base, FULL, vectors=True)
    added = changes(extracted.lora)
    assert len(added) == len(base)
    for key, weight in base.items():
        name = key.removesuffix(".weight").removesuffix(".scale")
        assert torch.equal(weight + added[name].float(), after[key]) or error(
            weight.double() + added[name], after[key].double()) < 1e-7  # fmt: skip
    assert len(changes(extract(after, base, FULL).lora)) == 4


def test_what_is_the_same_is_left_out_and_so_is_what_was_not_selected():
    base = model()
    after, _ = with_lora(base, 2)
    after["single_blocks.0.linear2.weight"] = base["single_blocks.0.linear2.weight"].clone()
    extracted = extract(after, base, KNEE)
    assert not any("linear2" in key for key in extracted.lora)
    (row,) = [row for row in extracted.report.modules if row.action == "dropped"]
    assert row.module == "single_blocks.0.linear2" and row.note == "the same in both models"
    only = extract(after, base, KNEE, layers="double_blocks, -*qkv")
    assert [row.module for row in only.report.modules] == ["double_blocks.0.img_attn.proj"]


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["match", "kohya", "diffusers", "generic"])
def test_any_two_layouts_in_any_spelling(spelling):
    base = flux(hidden=128, double=1, single=1)
    after, change = with_lora(base, 2)
    extracted = extract(
        as_diffusers(after), base, RankRule("rank", 8), output=Output(spelling=spelling)
    )
    split = spelling == "diffusers"
    assert any(".attn.to_q." in key for key in extracted.lora) == split
    ours = changes(convert(extracted.lora, Output(spelling="generic")).lora)
    assert len(ours) == len(change)
    for key, exact in change.items():
        assert error(ours[key.removesuffix(".weight")], exact) < 1e-5, key
    words = extracted.lora.metadata
    assert words["modelspec.architecture"] == "flux-1-dev/lora"


def test_a_convolution_becomes_locon():
    weight = randn((32, 16, 3, 3), "conv")
    key = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"
    change = (randn((32, 3), "u") @ randn((3, 144), "v")).reshape(weight.shape)
    lora = extract({key: weight + change}, {key: weight}, KNEE).lora
    down = next(t for k, t in lora.items() if k.endswith("lora_down.weight"))
    assert down.shape == (3, 16, 3, 3)
    (ours,) = changes(lora).values()
    assert error(ours, change.flatten(1)) < 1e-5


def test_a_budget_is_met_and_spent_where_it_helps_most():
    base = model()
    after = {k: w + (0.1 if "linear2" in k else 0.001) * randn(w.shape, k, 1) if w.ndim > 1 else w
             for k, w in base.items()}  # fmt: skip
    extracted = extract(after, base, RankRule("parameters", 10_000))
    rows = {row.module: row.rank for row in extracted.report.kept}
    assert sum(t.numel() for k, t in extracted.lora.items() if "alpha" not in k) <= 10_000
    assert rows["single_blocks.0.linear2"] > 4 * rows["double_blocks.0.img_attn.proj"]


def test_the_curve_holds_what_other_ranks_would_keep():
    base = model()
    after = tuned(base)
    extracted = extract(after, base, RankRule("rank", 8))
    exact = [after[k].double() - base[k].double() for k, w in base.items() if w.ndim > 1]
    values = [torch.linalg.svdvals(one) for one in exact]
    norm = torch.stack([one.norm() for one in exact]).norm()
    for point in extracted.curve.points:
        lost = torch.stack([v[point.rank :].norm() for v in values]).norm() / norm
        assert point.least <= 1.05 * lost and lost <= 1.001 * point.most, point
        size = sum(min(point.rank, min(one.shape)) * sum(one.shape) for one in exact) * 4
        assert point.bytes == size
    assert any("relative error at rank: 1 (" in note for note in extracted.report.notes)
    assert any("the spectrum is flat in 4 of 4 layers" in note for note in extracted.report.notes)
    lora, _ = with_lora(base, 3)
    assert not any("flat" in note for note in extract(lora, base, KNEE).report.notes)


# -- what is refused ------------------------------------------------------------------------------


def test_two_models_that_do_not_belong_together_are_refused_in_one_line(tmp_path):
    base = model()
    other = {"layers.0.attention.out.weight": torch.ones(8, 8)}
    cases = {
        "they share no weight": (base, other),
        "nothing to extract: both have the same weights": (base, dict(base)),
        "is a LoRA, not a model": ({"x.lora_A.weight": torch.ones(2, 2)}, base),
        "has another shape in each model: (8, 8) in state dict": (
            base | {NAME: torch.ones(8, 8)},
            base,
        ),
        "contains NaN or Inf": (base | {NAME: base[NAME] * float("nan")}, base),
    }
    out = tmp_path / "out.safetensors"
    for problem, pair in cases.items():
        with pytest.raises(LoraError) as caught:
            extract(*pair, output=Output(out))
        assert problem in str(caught.value) and "\n" not in str(caught.value)
    assert files_in(tmp_path) == set()
    reshaped = base | {NAME: torch.ones(8, 8)}
    assert extract(tuned(reshaped), base, layers="-double_blocks.0.img_attn.proj").report.kept
    with pytest.raises(MismatchError, match="no weight has one shape in both"):
        extract({NAME: torch.ones(8, 8)}, {NAME: torch.ones(4, 4)})
    with pytest.raises(SettingError, match="method 'fast' is unknown"):
        extract(base, base, method="fast")


def test_nothing_is_left_behind_and_no_model_is_overwritten(tmp_path):
    base = model()
    paths = [tmp_path / "tuned.safetensors", tmp_path / "base.safetensors"]
    for path, weights in zip(paths, (tuned(base), base), strict=True):
        save_file(weights, path)
    before = files_in(tmp_path)
    for path in paths:
        with pytest.raises(FileError, match="the output is one of the models"):
            extract(*paths, output=Output(path))
    stop = Compute(cancelled=lambda: True)
    with pytest.raises(Cancelled):
        extract(*paths, output=Output(tmp_path / "out.safetensors"), compute=stop)
    assert files_in(tmp_path) == before
    extracted = extract(*paths, output=Output(tmp_path / "out.safetensors"))
    assert extracted.report.settings["base"] == "base.safetensors"
    assert [one["name"] for one in extracted.report.inputs] == [
        "tuned.safetensors",
        "base.safetensors",
    ]
    assert len(changes(tmp_path / "out.safetensors")) == 4
