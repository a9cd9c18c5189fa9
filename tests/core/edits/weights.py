"""Two files of four layers, their blend, and the weights that are found in it."""

import torch

from core import Blend, blend
from tests.helpers import dense, error, lora_file

NAMES = ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn", "blocks.10.attn"]
FIRST, SECOND = lora_file(NAMES, seed=1), lora_file(NAMES, seed=2)


def blended(first=FIRST, second=SECOND, **settings):
    return blend(first, second, Blend(**{"rank": "full"} | settings))


def weights_of(result, first=FIRST, second=SECOND) -> dict[str, list[float]]:
    """Module -> the weights with which the inputs are in it, by least squares."""
    one, two = dense(first), dense(second)
    found = {}
    for name, update in dense(result.lora).items():
        zero = torch.zeros_like(update)
        pair = torch.stack([one.get(name, zero).flatten(), two.get(name, zero).flatten()], 1)
        solution = torch.linalg.lstsq(pair, update.flatten()[:, None]).solution
        assert error(pair @ solution, update.flatten()[:, None]) < 1e-5
        found[name] = [round(float(value), 5) for value in solution.flatten()]
    return found
