"""One weight under different names, fused or split: the blend is the sum all the same.

The oracle is a miniature Flux (tests/helpers.py) whose weights are patched the way ComfyUI does:
whole weights by kohya and generic names, row slices by diffusers names, one of them swapped.

Also of part_sizes.py: every fused weight here is cut by it.
"""

from itertools import product

import pytest
import torch

from core import Blend, LoraError, Output, StateDict, blend, convert, resize, verify
from core.algebra.rank_rules import RankRule
from tests.helpers import (
    FLUX_SHAPES,
    FLUX_WHOLE,
    KOHYA,
    PEFT,
    H,
    best_error,
    dense,
    error,
    flux_dense,
    flux_file,
    flux_names,
    lora,
    randn,
    same_bits,
)

SPELLINGS = (*FLUX_WHOLE, "diffusers")
QKV, LINEAR1 = "double_blocks.0.img_attn.qkv", "single_blocks.0.linear1"


def exact_sum(first, second, w1, w2):
    one, two = flux_dense(first), flux_dense(second)
    return {weight: w1 * one[weight] + w2 * two[weight] for weight in FLUX_SHAPES}


def assert_sum(tensors, expected, limit=1e-5):
    found = flux_dense(tensors)
    errors = {weight: error(found[weight], expected[weight]) for weight in expected}
    assert max(errors.values()) < limit, errors


def raw_names(tensors) -> set[str]:
    return {key.split(".lora_")[0].removesuffix(".alpha") for key in tensors}


@pytest.mark.slow
@pytest.mark.parametrize("w1, w2", [(1.0, 1.0), (0.7, -1.3)])
@pytest.mark.parametrize("first, second", list(product(SPELLINGS, repeat=2)))
def test_a_blend_of_any_two_spellings_is_the_weighted_sum(first, second, w1, w2):
    one, two = flux_file(first, 2, seed=1), flux_file(second, 3, seed=2)
    result = blend(one, two, Blend((w1, w2), "full"))
    assert_sum(result.lora, exact_sum(one, two, w1, w2))
    # Under the names of the first file, each module once.
    assert raw_names(result.lora) == raw_names(one)
    assert result.report.matched == len(flux_names(first))
    report = verify(result.lora, [one, two], [w1, w2])
    assert report.relative_error < 1e-6


@pytest.mark.parametrize("first, second", [p for p in product(SPELLINGS, repeat=2) if p[0] != p[1]])
def test_truncation_is_the_optimum_of_the_first_files_cut(first, second):
    one, two = flux_file(first, 2, seed=1), flux_file(second, 2, seed=2)
    exact = exact_sum(one, two, 0.5, 0.8)
    found = flux_dense(blend(one, two, Blend((0.5, 0.8), 2)).lora)
    for _, weight, start, stop in flux_names(first):
        wanted, got = exact[weight][start:stop], found[weight][start:stop]
        assert error(got, wanted) == pytest.approx(best_error(wanted, 2), rel=1e-4)


@pytest.mark.parametrize("stored, wanted", list(product(SPELLINGS, repeat=2)))
def test_converting_keeps_the_update_and_comes_back(stored, wanted):
    tensors = flux_file(stored)
    result = convert(tensors, Output(spelling=wanted)).lora
    assert_sum(result, flux_dense(tensors), 1e-6)
    assert raw_names(result) == {raw for raw, *_ in flux_names(wanted)}
    assert any(key.endswith(".alpha") for key in result) == (wanted == "kohya")
    back = convert(result, Output(spelling=stored)).lora
    assert_sum(back, flux_dense(tensors), 1e-6)
    if wanted == stored:
        assert same_bits(result, tensors)


@pytest.mark.parametrize("edit", ["blend", "resize"])
@pytest.mark.parametrize("stored, wanted", [("kohya", "diffusers"), ("diffusers", "generic")])
def test_edits_write_the_wanted_spelling(edit, stored, wanted):
    tensors, output = flux_file(stored, 2), Output(spelling=wanted)
    if edit == "blend":
        result = blend(tensors, None, Blend((1.0,), "full"), output).lora
    else:
        result = resize(tensors, RankRule("energy", 1.0), output=output).lora
    assert_sum(result, flux_dense(tensors))
    assert raw_names(result) == {raw for raw, *_ in flux_names(wanted)}


def parts(spelling, *weights) -> dict[str, torch.Tensor]:
    return {
        key: tensor
        for key, tensor in flux_file(spelling, seed=spelling).items()
        for raw, weight, *_ in flux_names(spelling)
        if weight in weights and key.startswith(raw + ".")
    }


@pytest.mark.parametrize("missing", ["q", "k", "v"])
def test_a_split_file_may_lack_a_part(missing):
    split = {k: t for k, t in parts("diffusers", QKV).items() if f"to_{missing}" not in k}
    whole = parts("kohya", QKV)
    for one, two in ((split, whole), (whole, split)):
        result = blend(one, two, Blend((0.5, 2.0), "full")).lora
        assert_sum(result, exact_sum(one, two, 0.5, 2.0))
    assert_sum(convert(split, Output(spelling="kohya")).lora, flux_dense(split))
    assert_sum(convert(split, Output(spelling="diffusers")).lora, flux_dense(split))


def test_modules_that_only_the_second_has_take_the_first_ones_spelling():
    one, two = parts("diffusers", QKV), parts("kohya", LINEAR1, QKV)
    result = blend(one, two, Blend((1.0, 1.0), "full")).lora
    assert_sum(result, exact_sum(one, two, 1, 1))
    assert all(raw.startswith("transformer.") for raw in raw_names(result))
    result = blend(
        two, one | parts("diffusers", "single_blocks.0.linear2"), Blend(rank="full")
    ).lora
    assert all(raw.startswith("lora_unet_") for raw in raw_names(result))


def test_a_file_that_patches_one_weight_whole_and_in_parts_is_their_sum():
    # ComfyUI adds both: they are different targets of its key map.
    both = parts("kohya", QKV) | {k: t for k, t in parts("diffusers", QKV).items() if "to_q" in k}
    other = parts("generic", QKV)
    for output in (Output(), *(Output(spelling=s) for s in SPELLINGS)):
        result = blend(both, other, Blend((0.5, 1.5), "full"), output).lora
        assert_sum(result, exact_sum(both, other, 0.5, 1.5))


def test_differences_are_cut_and_joined_too():
    whole = {"diffusion_model." + QKV + ".diff": randn((3 * H, H))}
    split = {k: t for k, t in parts("diffusers", QKV).items() if "lora_A" in k or "lora_B" in k}
    for one, two in ((whole, split), (split, whole)):
        assert_sum(blend(one, two, Blend((0.5, 2.0), "full")).lora, exact_sum(one, two, 0.5, 2.0))


def test_biases_of_fused_weights_stay_whole():
    key = "lora_unet_double_blocks_0_img_attn_qkv.diff_b"
    one = parts("kohya", QKV) | {key: randn((3 * H,))}
    two = parts("kohya", QKV) | {key: randn((3 * H,), "two")}
    output = Output(spelling="diffusers")
    assert torch.equal(convert(one, output).lora[key], one[key])
    result = blend(one, two, Blend((1.0, -2.0), "full"), output).lora
    assert error(result[key], (one[key] - 2 * two[key]).double()) < 1e-6


@pytest.mark.parametrize("shape", [(3 * H, H + 1), (3 * H + 3, H), (2 * H, H)])
def test_fused_and_split_that_do_not_fit_are_refused(shape):
    whole = lora("lora_unet_double_blocks_0_img_attn_qkv", shape, pair=KOHYA)
    with pytest.raises(LoraError, match=r"img_attn.*different base models|do not tell|not fit"):
        blend(whole, parts("diffusers", QKV), Blend(rank="full"))


def test_two_files_of_different_sizes_are_refused_by_module():
    one, two = flux_file("kohya"), {}
    for raw, weight, start, stop in flux_names("generic"):
        two |= lora(raw, (2 * (stop - start), 2 * FLUX_SHAPES[weight][1]), pair=PEFT)
    with pytest.raises(LoraError, match=r"module .*(shapes|rows)"):
        blend(one, two)


def test_names_that_no_table_knows_still_match_across_spellings():
    one = lora("lora_unet_some_thing_3_proj", pair=KOHYA, seed=1)
    two = lora("diffusion_model.some.thing.3.proj", seed=2)
    for first, second in ((one, two), (two, one)):
        result = blend(first, second, Blend((1.0, 2.0), "full"))
        assert result.report.matched == 1 and raw_names(result.lora) == raw_names(first)


def test_what_joins_a_file_that_comfyui_does_not_read_is_spelled_alike():
    prefix = "base_model.model."
    first = parts("diffusers", QKV)
    first = {key.replace("transformer.", prefix, 1): tensor for key, tensor in first.items()}
    edited = blend(first, parts("kohya", QKV, LINEAR1), Blend(rank="full"))
    names = raw_names(edited.lora)
    assert all(raw.startswith(prefix) for raw in names) and len(names) == 7
    assert any(f"does not read names like {prefix}" in note for note in edited.report.notes)
    # A file that ComfyUI reads is joined by names that it reads, too.
    wan = "lycoris_blocks_0_self_attn_"
    first = lora(f"{wan}q") | lora("lora_unet_blocks_0_self_attn_k")
    second = lora("diffusion_model.blocks.0.self_attn.q") | lora("diffusion_model.blocks.0.ffn.0")
    assert "diffusion_model.blocks.0.ffn.0" in raw_names(blend(first, second).lora)


def test_a_file_whose_whole_and_parts_do_not_fit_is_said_to_be_damaged():
    whole = lora("lora_unet_double_blocks_0_img_attn_qkv", (3 * H, H), pair=KOHYA)
    part = lora("transformer.transformer_blocks.0.attn.to_q", (H + 1, H))
    with pytest.raises(LoraError, match=r"dict: module .*qkv: has .* rows .* file is damaged"):
        convert(whole | part, Output(spelling="kohya"))


def test_a_weight_is_written_whole_where_rows_of_it_have_no_name_of_their_own():
    # Diffusers has one name for Flux.2's linear1; q and k alone are read, the rest cannot be named.
    single = "transformer.single_transformer_blocks.0.attn."
    one = lora(f"{single}to_q", (H, H), seed=1) | lora(f"{single}to_k", (H, H), seed=2)
    two = lora("diffusion_model.single_blocks.0.linear1", (9 * H, H), seed=3)
    two = StateDict(two, {"modelspec.architecture": "flux2"})
    result = blend(one, two, Blend((1.0, 2.0), "full")).lora
    exact = 2 * dense(two)["diffusion_model.single_blocks.0.linear1"]
    exact[: 2 * H] += torch.cat([dense(one)[f"{single}to_{part}"] for part in "qk"])
    assert raw_names(result) == {f"{single}to_qkv_mlp_proj"}
    assert error(dense(result)[f"{single}to_qkv_mlp_proj"], exact) < 1e-6
