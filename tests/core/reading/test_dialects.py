"""Files that ComfyUI renames as a whole."""

import os

import pytest

from core import Blend, Lora, LoraError, StateDict, blend, select
from tests import helpers
from tests.core.kinds import control_lora
from tests.helpers import lora


def test_a_control_lora_is_read_as_comfyui_renames_it():
    read = Lora(StateDict(control_lora(), name="depth"))
    kinds = {m.canonical: m.adapter.kind.name for m in read.modules.values()}
    assert kinds == {
        "double_blocks.0.img_attn.qkv": "LoRA",
        "double_blocks.0.img_attn.qkv.bias": "bias",
        "img_in": "reshaped weight",
        "img_in.bias": "bias",
        "single_blocks.0.norm.key_norm": "set weight",
        "double_blocks.0.img_attn.norm.query_norm": "set weight",
    }
    assert read.other == {} and any("Flux control LoRA" in note for note in read.notes)
    kept = select(read, "-img_in.bias")[0].lora
    assert kept["diffusion_model.img_in.reshape_weight"].tolist() == [8, 16]
    assert "diffusion_model.single_blocks.0.norm.key_norm.set_weight" in kept
    with pytest.raises(
        LoraError, match="depth: module img_in: is a reshaped weight, and it enlarges"
    ):
        blend(read, None, Blend(weights=(0.5,)))
    with pytest.raises(LoraError, match="is a set weight, and it replaces the base weight"):
        blend(read, None, Blend(weights=(0.5,), layers="-img_in"))
    left = blend(read, None, Blend(weights=(0.5,), layers="-img_in, -*norm*")).lora
    assert sorted(Lora(left).modules) == [
        "double_blocks.0.img_attn.qkv",
        "double_blocks.0.img_attn.qkv.bias",
    ]


def test_wan_fun_names_are_read_and_written_as_kohyas():
    name = "lora_unet__blocks_0_cross_attn_k"
    read = Lora(StateDict(lora(name, (8, 8), 2, helpers.KOHYA, 1.0)))
    assert list(read.modules) == ["blocks.0.cross_attn.k"] and read.family.name == "Wan"
    kept = select(read, "")[0].lora
    assert all(key.startswith("lora_unet_blocks_0_cross_attn_k.") for key in kept)


def test_uso_names_are_read_as_comfyui_renames_them():
    pair = (".up.weight", ".down.weight")
    tensors = lora("single_blocks.37.processor.qkv_lora", (24, 8), 2, pair)
    tensors |= lora("single_blocks.37.processor.proj_lora", (8, 40), 2, pair)
    for number in (1, 2):
        tensors |= lora(f"double_blocks.18.processor.qkv_lora{number}", (24, 8), 2, pair)
        tensors |= lora(f"double_blocks.18.processor.proj_lora{number}", (8, 8), 2, pair)
    read = Lora(StateDict(tensors))
    assert set(read.modules) == {
        "single_blocks.37.linear1.qkv",
        "single_blocks.37.linear2",
        "double_blocks.18.img_attn.qkv",
        "double_blocks.18.img_attn.proj",
        "double_blocks.18.txt_attn.qkv",
        "double_blocks.18.txt_attn.proj",
    }
    assert read.other == {}


def test_a_file_that_comfyui_would_not_know_is_not_said_to_be_read_by_it():
    names = {
        "double_blocks.0.processor.qkv_lora1": "USO",
        "lora_unet__blocks_0_self_attn_q": "Wan-Fun",
    }
    for name, dialect in names.items():
        pair = (".up.weight", ".down.weight") if dialect == "USO" else helpers.KOHYA
        read = Lora(lora(name, pair=pair))
        assert any(f"names of {dialect}, which ComfyUI knows only beside" in n for n in read.notes)
    known = lora("lora_unet__blocks_0_cross_attn_k", pair=helpers.KOHYA)
    assert any(n.endswith("Wan-Fun, renamed as ComfyUI renames it") for n in Lora(known).notes)


def test_diff_m_is_the_difference_of_a_modulation():
    name = "diffusion_model.blocks.0"
    change = helpers.randn((1, 6, 5120))
    tensors = lora(f"{name}.self_attn.q", (5120, 5120)) | {f"{name}.diff_m": change}
    read = Lora(tensors)
    assert list(read.modules) == ["blocks.0.self_attn.q", "blocks.0.modulation"] and not read.other
    half = blend(tensors, None, Blend((0.5,))).lora
    assert (half[f"{name}.modulation.diff"] == change / 2).all()
    assert list(select(tensors, "*.modulation")[0].lora) == [f"{name}.modulation.diff"]


def test_a_renamed_file_that_was_written_to_is_named(tmp_path):
    path = tmp_path / "fun.safetensors"
    helpers.save(lora("lora_unet__blocks_0_self_attn_q"), path)
    read = Lora(path)
    select(read, "*")
    os.utime(path, (1, 1))
    with pytest.raises(LoraError, match=r"fun\.safetensors: was changed while it was read"):
        read.tensors.check_unchanged()
