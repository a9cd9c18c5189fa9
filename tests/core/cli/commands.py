"""Two files, and command lines in which one letter stands for each."""

import torch
from safetensors.torch import load_file

from core.cli.main import main
from tests.helpers import KOHYA, dense, lora_file

NAMES = ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn"]
FIRST, SECOND = lora_file(NAMES, seed=1), lora_file(NAMES, KOHYA, alpha=2.0, seed=2)


def cli(text: str, *more: str) -> int:
    """`A` and `B` in the text stand for the two files, `O` for the output."""
    names = {"A": "a.safetensors", "B": "b.safetensors", "O": "o.safetensors"}
    return main([names.get(word, word) for word in text.split()] + list(more))


def out() -> dict[str, torch.Tensor]:
    return dense(load_file("o.safetensors"))
