"""Convert: the same update under other names (fused and split ones: see test_layout)."""

import pytest
import torch

from core import LoraError, Output, convert
from tests.helpers import (
    KOHYA,
    PAIRS,
    PEFT,
    assert_close,
    dense,
    flux_file,
    lora,
    lora_file,
    randn,
    same_bits,
)

NAME = "blocks.0.self_attn.q"
SPELLED = {
    "kohya": "lora_unet_blocks_0_self_attn_q",
    "generic": "diffusion_model." + NAME,
}


def renamed(update, raw):
    (value,) = update.values()
    return {raw: value}


@pytest.mark.parametrize("alpha", [None, 2.0])
@pytest.mark.parametrize("wanted", SPELLED)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_every_suffix_pair_becomes_the_standard_one(pair, wanted, alpha):
    tensors = lora("diffusion_model." + NAME, pair=pair, alpha=alpha)
    tensors |= lora("diffusion_model.blocks.0.self_attn.k", pair=pair)
    result = convert(tensors, Output(spelling=wanted)).lora
    up, down = KOHYA if wanted == "kohya" else PEFT
    raw = SPELLED[wanted]
    assert {raw + up, raw + down} <= set(result)
    assert (raw + ".alpha" in result) == (wanted == "kohya")
    found = {raw: dense(result)[raw]}
    assert_close(found, renamed(dense(lora("x", pair=pair, alpha=alpha, seed=0)), raw))


def test_a_middle_kernel_goes_where_the_spelling_has_none():
    raw = "lora_unet_blocks_0_self_attn_q"
    tensors = lora(raw, (8, 6, 3, 3), 3, KOHYA, 2.0, mid=True)
    result = convert(tensors, Output(spelling="generic")).lora
    assert_close(dense(result), renamed(dense(tensors), "diffusion_model." + NAME))


def test_a_name_that_no_rule_knows_stays():
    tensors = lora("my_network.block.7.thing", pair=PAIRS[5], alpha=2.0) | flux_file("kohya")
    result = convert(tensors, Output(spelling="diffusers"))
    assert dense(result.lora)["my_network.block.7.thing"] is not None
    assert any(key.startswith("my_network.block.7.thing") for key in result.lora)
    before, after = dense(tensors), dense(result.lora)
    name = "my_network.block.7.thing"
    assert_close({name: after[name]}, {name: before[name]}, 1e-6)


def test_differences_norms_and_biases_are_renamed():
    raw = "diffusion_model.blocks.0."
    shapes = {"ffn.0.diff": (9, 4), "ffn.0.diff_b": (9,), "norm3.diff": (4,), "norm3.diff_b": (4,)}
    tensors = {raw + key: randn(shape, key) for key, shape in shapes.items()}
    result = convert(tensors | lora(raw + "self_attn.q"), Output(spelling="kohya")).lora
    for key, tensor in tensors.items():
        flat = key.removeprefix("diffusion_model.").rpartition(".")
        assert torch.equal(result["lora_unet_" + flat[0].replace(".", "_") + "." + flat[2]], tensor)


@pytest.mark.parametrize("dtype, stored", [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_the_dtype_can_be_changed_alone(dtype, stored):
    tensors = lora_file("ab", KOHYA, alpha=torch.tensor(2.0)) | {"table": torch.arange(3)}
    result = convert(tensors, Output(dtype=dtype)).lora
    cast = {k: t.to(stored) if "lora" in k else t for k, t in tensors.items()}
    assert same_bits(result, cast)


def test_kinds_that_cannot_be_cut_are_refused_where_they_would_have_to_be():
    raw = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = flux_file("kohya") | {raw + ".dora_scale": torch.ones(24, 1)}
    with pytest.raises(LoraError, match="DoRA"):
        convert(tensors, Output(spelling="diffusers"))
    kept = convert(tensors, Output(spelling="generic")).lora
    assert torch.equal(
        kept["diffusion_model.double_blocks.0.img_attn.qkv.dora_scale"], torch.ones(24, 1)
    )
