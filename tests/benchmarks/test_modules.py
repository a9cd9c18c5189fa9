"""Which modules a generated file holds: the counts of real files, and names that ComfyUI reads."""

import math
from itertools import product

import pytest

from benchmarks.key_maps import FAMILIES, load
from benchmarks.modules import SPELLINGS, select


@pytest.mark.parametrize(
    "family, spelling, text_encoders, count",
    [
        ("flux", "kohya", False, 19 * 10 + 38 * 3),
        ("flux", "generic", False, 19 * 10 + 38 * 3),
        ("flux", "diffusers", False, 19 * 14 + 38 * 6),
        ("qwen-image", "kohya", False, 60 * 14),
        ("qwen-image", "diffusers", False, 60 * 14),
        ("wan2.1-14b", "generic", False, 40 * 10),
        ("z-image", "kohya", False, 32 * 6 + 2 * 5),
        ("sdxl", "kohya", False, 722),
        ("sdxl", "kohya", True, 722 + 72 + 192),
        ("sd1.5", "kohya", False, 192),
        ("sd1.5", "diffusers", True, 192 + 72),
    ],
)
def test_as_many_modules_as_trainers_write(family, spelling, text_encoders, count):
    assert len(select(family, spelling, text_encoders=text_encoders)) == count


# ComfyUI has no diffusers names for Wan.
PAIRS = [pair for pair in product(FAMILIES, SPELLINGS) if pair != ("wan2.1-14b", "diffusers")]


@pytest.mark.parametrize("family, spelling", PAIRS)
def test_names_are_in_the_key_map_with_their_shapes(family, spelling):
    by_spelling = {name: target for target in load(family) for name in target.spellings}
    modules = select(family, spelling, "all")
    for module in modules:
        target = by_spelling[module.name]
        assert math.prod(module.shape[1:]) == math.prod(target.shape[1:])
        assert module.shape[0] == (target.slice[2] if target.slice else target.shape[0])
    assert len({module.identity for module in modules}) == len(modules)


@pytest.mark.parametrize(
    "family, spelling, names",
    [
        ("flux", "kohya", ["lora_unet_single_blocks_0_linear1"]),
        ("flux", "generic", ["diffusion_model.single_blocks.0.linear1"]),
        (
            "flux",
            "diffusers",
            [
                "transformer.single_transformer_blocks.0.attn.to_k",
                "transformer.single_transformer_blocks.0.attn.to_q",
                "transformer.single_transformer_blocks.0.attn.to_v",
                "transformer.single_transformer_blocks.0.proj_mlp",
            ],
        ),
    ],
)
def test_fused_and_split_names(family, spelling, names):
    modules = select(family, spelling, "single_blocks.0.linear1")
    assert [module.name for module in modules] == names
    assert sum(module.shape[0] for module in modules) == 21504


def test_of_two_diffusers_names_flux_files_hold_the_older():
    (feed_forward,) = select("flux", "diffusers", "double_blocks.0.img_mlp.0")
    (output,) = select("flux", "diffusers", "single_blocks.0.linear2")
    assert feed_forward.name == "transformer.transformer_blocks.0.ff.net.0.proj"
    assert output.name == "transformer.single_transformer_blocks.0.proj_out"


def test_kohya_names_sdxl_and_sd15_after_different_layouts():
    pattern = "input_blocks.4.1.transformer_blocks.0.attn1.to_q"
    (sdxl,) = select("sdxl", "kohya", pattern)
    (sd15,) = select("sd1.5", "kohya", pattern)
    assert sdxl.name == "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    assert sd15.name == "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"


def test_attention_only():
    names = [module.name for module in select("flux", "kohya", "attention")]
    assert len(names) == 19 * 4 + 38 * 2
    assert not any("mlp" in name or "mod" in name for name in names)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("flux3", "kohya"), "family is one of"),
        (("flux", "peft"), "spelling is one of"),
        (("flux", "kohya", "blocks.99.*"), "no modules blocks.99"),
        (("wan2.1-14b", "diffusers"), "no modules"),
        (("flux", "kohya", None, True), "no text encoders"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        select(*arguments)
