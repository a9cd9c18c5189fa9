"""The blocks that are chosen, and what is said of them."""

import sys

import torch

from core import analyze_lora, choose_blocks
from tests.helpers import lora_file

NAMES = {
    "double_blocks.0.img_attn.proj": 1.0,
    "double_blocks.1.img_attn.proj": 5.0,
    "double_blocks.1.txt_attn.proj": 4.0,
    "double_blocks.10.img_attn.proj": 0.5,
    "single_blocks.1.linear2": 3.0,
    "img_in": 2.0,
}


def sample() -> dict[str, torch.Tensor]:
    """Six layers of chosen strength, and a tensor that belongs to none."""
    state = {}
    for name, strength in NAMES.items():
        one = lora_file(["diffusion_model." + name], rank=2)
        one["diffusion_model." + name + ".lora_B.weight"] *= strength
        state |= one
    return state | {"note": torch.arange(3)}


def test_an_analysis_saves_measuring_again(monkeypatch):
    table = analyze_lora(sample(), statistics="spectral")
    monkeypatch.setattr(sys.modules[choose_blocks.__module__], "analyze_lora", None)
    choice = choose_blocks(sample(), 0.7, "energy", analysis=table)
    assert choice.blocks == ("double_blocks.1",)
    assert choice.text[0].startswith("70 % of the energy sits in 1 of 4 blocks")
