"""What a page shows of a file before anything is computed."""

import json

import pytest

from core import Lora, StateDict, contents, samples
from core.storage.files import DictTensors
from tests.helpers import KOHYA, lora_file, randn

BLOCKS = [
    f"lora_unet_double_blocks_{i}_img_attn_{part}" for i in (0, 10, 2) for part in ("qkv", "proj")
]
ENCODER = "lora_te1_text_model_encoder_layers_3_self_attn_q_proj"


def test_blocks_are_grouped_and_in_the_networks_order():
    names = [ENCODER, "lora_unet_img_in", *BLOCKS]
    found = contents(Lora(StateDict(lora_file(names, KOHYA, alpha=2.0))))
    shown = {g["name"]: [block["name"] for block in g["blocks"]] for g in found["groups"]}
    assert shown == {
        "double_blocks": ["double_blocks.0", "double_blocks.2", "double_blocks.10"],
        "outside any block: diffusion model": ["img_in"],
        "clip_l.encoder.layers": ["clip_l.encoder.layers.3"],
    }
    assert list(shown)[-1] == "clip_l.encoder.layers"
    encoder = found["groups"][-1]["blocks"][0]
    assert encoder["pattern"] == "clip_l.transformer.text_model.encoder.layers.3"
    assert encoder["layers"][0][:2] == [".self_attn.q_proj", "attention q"]


def test_every_stored_number_is_counted_once_and_alphas_are_not():
    tensors = lora_file([*BLOCKS, ENCODER], KOHYA, alpha=2.0)
    found = contents(Lora(StateDict(tensors)))
    numbers = sum(t.numel() for key, t in tensors.items() if not key.endswith(".alpha"))
    blocks = [block for group in found["groups"] for block in group["blocks"]]
    assert sum(group["parameters"] for group in found["groups"]) == numbers
    assert sum(block["parameters"] for block in blocks) == numbers
    layers = [layer for block in blocks for layer in block["layers"]]
    assert sum(size for _, _, size in layers) == numbers and len(layers) == 7


def test_what_cannot_be_edited_is_said():
    tensors = lora_file(BLOCKS[:1], KOHYA) | {BLOCKS[0] + ".dora_scale": randn((16, 1))}
    (warning,) = contents(Lora(StateDict(tensors)))["warnings"]
    assert warning.startswith("1 of 1 modules are DoRA: its magnitude rescales the base weight.")
    assert "drop_magnitude" in warning


@pytest.mark.parametrize("name", ["a*b", "-x", "x, y", "x: 1"])
def test_a_name_that_a_selector_would_read_otherwise_is_no_pattern(name):
    found = contents(Lora(StateDict(lora_file([name]))))
    assert [b["pattern"] for g in found["groups"] for b in g["blocks"]] == [None]
    assert json.loads(json.dumps(found)) == found


def test_no_tensor_is_read(monkeypatch):
    opened = [Lora(sample) for sample in samples()]
    for kind in (DictTensors, type(opened[0].tensors)):
        monkeypatch.setattr(kind, "__getitem__", None)
    assert all(contents(lora)["groups"] for lora in opened)
    assert ["modules", "40, 61.4 k parameters"] in contents(opened[0])["facts"]
