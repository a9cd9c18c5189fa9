"""A Flux file of six layers of chosen strength: which blocks matter is known."""

import torch

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
