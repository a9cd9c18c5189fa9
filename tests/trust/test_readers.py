"""Hostile files: a few hundred cases here, with Hypothesis to make a failing one small.

`python -m tests.trust.readers --cases 100000` is the same at length.
"""

import json
import math
import struct
from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import (
    Blend,
    Lora,
    LoraError,
    Output,
    RankRule,
    analyze_lora,
    blend,
    convert,
    resize,
    verify,
)
from core.insight.info import describe
from tests.helpers import KOHYA, flux_file, lora, lora_file, randn, save
from tests.trust import hostile, readers


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.sampled_from(list(readers.ACTIONS)))
def test_hostile_files_are_read_or_refused_by_name(tmp_path_factory, chance, action):
    content = hostile.file(chance)
    folder = tmp_path_factory.getbasetemp()
    assert not readers.check(content, folder, [action], Counter())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 200, 20))
def test_hostile_files_of_many_seeds(tmp_path, seed):
    outcomes = Counter()
    for one in range(seed, seed + 20):
        content, actions = readers.case(one)
        assert not readers.check(content, tmp_path, actions, outcomes), f"--only {one}"
    assert min(outcomes["worked"], outcomes["refused"]) > 5


class Faulty:
    """What `check` has to notice."""

    @staticmethod
    def crash(path, other):
        raise KeyError("x")

    @staticmethod
    def nameless(path, other):
        raise LoraError("something is wrong", "mend it", tensor="x.lora_A.weight")

    @staticmethod
    def of_no_tensor(path, other):
        raise LoraError("something is wrong", "mend it", file=path.name)

    @staticmethod
    def without_a_way_out(path, other):
        raise LoraError("something is wrong", "", file=path.name, module="x")

    @staticmethod
    def memory(path, other):
        b"x" * (readers.peak() + 400_000_000)

    @staticmethod
    def writing(path, other):
        path.write_bytes(b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", ["crash", "nameless", "of_no_tensor", "without_a_way_out", "memory", "writing"]
)
def test_the_check_notices(tmp_path, monkeypatch, fault):
    if fault == "memory" and not readers.peak():
        pytest.skip("this system does not say how much memory a process had")
    monkeypatch.setitem(readers.ACTIONS, fault, getattr(Faulty, fault))
    content = (tmp_path / save(lora("x"), tmp_path / "x")).read_bytes()
    assert len(readers.check(content, tmp_path, [fault], Counter())) == 1


# -- what was found this way ----------------------------------------------------------------------


def raw_file(path, entries, data=b""):
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize("shape", [[1] * 65, [0, 2**63 - 1], [2**40, 0, 2**40]], ids=len)
def test_shapes_that_torch_cannot_hold_are_refused_by_name(tmp_path, shape):
    size = 4 if shape[0] == 1 else 0
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    path = raw_file(tmp_path / "x.safetensors", {"x.diff": entry}, bytes(size))
    with pytest.raises(LoraError, match=rf"x\.safetensors: .*x\.diff: has {len(shape)} dimensions"):
        Lora(path)


def test_a_damaged_alpha_is_named_with_its_file(tmp_path):
    path = save(lora("x", pair=KOHYA, alpha=math.inf), tmp_path / "in.safetensors")
    with pytest.raises(LoraError, match=r"in\.safetensors: module x: tensor x\.alpha: is inf"):
        describe(Lora(path))


@pytest.mark.parametrize("rows", [1, 2, 8])
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 1), (4, 4)])
def test_kronecker_products_of_any_shape_are_decomposed(rows, shape):
    tensors = {"x.lokr_w1": randn((rows, 2)), "x.lokr_w2": randn(shape, 1)} | lora("y")
    exact = torch.kron(tensors["x.lokr_w1"], tensors["x.lokr_w2"]).double()
    result = resize(tensors, RankRule("rank", 99)).lora
    found = result.get("x.lora_B.weight"), result.get("x.lora_A.weight")
    if None not in found:
        assert torch.allclose((found[0] @ found[1]).double(), exact, atol=1e-5)
    assert analyze_lora(tensors)["dW.norms.l2"][0] == pytest.approx(float(exact.norm()), rel=1e-5)


def test_a_kernel_in_the_first_kronecker_factor_is_refused_by_name():
    tensors = {"x.lokr_w1": randn((2, 2, 3, 3)), "x.lokr_w2": randn((4, 4))} | lora("y")
    with pytest.raises(LoraError, match=r"module x: .*lokr_w1.* must be a matrix"):
        resize(tensors, RankRule("rank", 2))


FLUX = "lora_unet_double_blocks_0_img_attn_proj"
SDXL = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"


def test_two_families_that_share_one_odd_name_are_told_apart(tmp_path):
    # Each file is certainly of its family; the shared module is of neither.
    one = save(lora_file([FLUX, "odd"], KOHYA), tmp_path / "flux.safetensors")
    other = save(lora_file([SDXL, "odd"], KOHYA, seed=1), tmp_path / "sdxl.safetensors")
    result = blend(one, other, Blend(rank="full")).lora
    assert {key.split(".")[0] for key in result} == {FLUX, SDXL, "odd"}
    assert verify(result, [one, other], [1, 1]).relative_error < 1e-6


def test_both_files_are_named_where_their_parts_do_not_fit(tmp_path):
    qkv, q = "double_blocks.0.img_attn.qkv", "transformer.transformer_blocks.0.attn.to_q"
    one = save(lora("diffusion_model." + qkv, (24, 8)), tmp_path / "one.safetensors")
    two = save(lora(q, (9, 8)), tmp_path / "two.safetensors")
    with pytest.raises(LoraError, match=r"one\.safetensors .*two\.safetensors: module"):
        blend(one, two)


def test_both_files_are_named_where_the_rows_of_one_belong_nowhere(tmp_path):
    one = save(
        lora("lora_unet_single_blocks_0_linear1", (1, 4, 3, 3)), tmp_path / "one.safetensors"
    )
    two = save(flux_file("kohya"), tmp_path / "two.safetensors")
    with pytest.raises(LoraError, match=r"two\.safetensors: module .* is fused .* in one\."):
        blend(one, two)


def test_numbers_too_large_to_compute_with_are_named(tmp_path):
    tensors = {key: torch.full_like(t, 3e38) for key, t in lora("x").items()}
    path = save(tensors, tmp_path / "in.safetensors")
    for edit in (
        lambda: resize(path, RankRule("rank", 2)),
        lambda: blend(path, None, Blend((2,))),
    ):
        with pytest.raises(LoraError, match=r"in\.safetensors: .*x"):
            edit()


def test_an_entry_too_large_for_the_dtype_names_the_file(tmp_path):
    path = save({"x.diff": torch.full((4, 4), 1e6)} | lora("y"), tmp_path / "in.safetensors")
    with pytest.raises(LoraError, match=r"in\.safetensors: .*tensor x\.diff: has an entry of 2e"):
        blend(path, None, Blend((2,)), Output(dtype="fp16"))
    with pytest.raises(
        LoraError, match=r"in\.safetensors: .*tensor x\.diff: has an entry of 1e\+06"
    ):
        convert(path, Output(dtype="fp16"))


@pytest.mark.parametrize("spelling", ["kohya", "generic", "diffusers"])
def test_a_single_number_beside_a_weight_of_many_rows_is_refused_by_name(tmp_path, spelling):
    # A number has no rows of which a fused weight could take some.
    whole, part = "lora_unet_single_blocks_0_linear1", "transformer.single_transformer_blocks.0"
    tensors = {f"{whole}.lokr_w1": randn((2, 2)), f"{whole}.lokr_w2": randn((24, 4), 1)}
    tensors |= {
        f"{part}.proj_mlp.lokr_w1": randn((2, 2)),
        f"{part}.proj_mlp.lokr_w2": randn((12, 8)),
    }
    path = save(
        tensors | {f"{part}.proj_mlp.w_norm": torch.tensor(1.0)}, tmp_path / "in.safetensors"
    )
    for edit in (
        lambda: convert(path, Output(spelling=spelling)),
        lambda: resize(path, RankRule("rank", 1)),
    ):
        with pytest.raises(LoraError, match=r"in\.safetensors: module .*single_blocks\.0\.linear1"):
            edit()


@pytest.mark.parametrize("spelling", ["kohya", "generic"])
def test_a_single_number_has_no_halves_to_change_places(spelling):
    tensors = {"transformer.norm_out.linear.w_norm": torch.tensor(3.0)}
    result = convert(tensors, Output(spelling=spelling)).lora
    assert [float(tensor) for tensor in result.values()] == [3.0]


def test_a_vector_is_added_to_a_weight_of_one_column():
    # Two names of one weight: one stores a product, the other a difference without the column.
    tensors = lora("lora_unet_final_layer_adaLN_modulation_1", (12, 1), 1, KOHYA, alpha=1.0)
    tensors["transformer.norm_out.linear.diff"] = randn((12,))
    result = resize(tensors, RankRule("rank", 2)).lora
    assert verify(result, [tensors], [1]).relative_error < 1e-6
