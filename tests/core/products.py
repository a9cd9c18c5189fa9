"""Products of thin factors to test with."""

import torch

from core import LowRank
from tests.helpers import randn


def factors(out=12, inner=9, rank=4, seed=0, dtype=torch.float32) -> LowRank:
    up, down = randn((out, rank), seed, "up"), randn((rank, inner), seed, "down")
    return LowRank.of(up.to(dtype), down.to(dtype), (out, inner))


def exact(update: LowRank) -> torch.Tensor:
    return update.up.double() @ update.down.double()


def spectrum_of(values, out=20, inner=15, seed=0, dtype=torch.float32) -> LowRank:
    """A product whose singular values are these."""
    values = torch.tensor(values, dtype=torch.float64)
    left = torch.linalg.qr(randn((out, len(values)), seed, "l").double()).Q
    right = torch.linalg.qr(randn((inner, len(values)), seed, "r").double()).Q
    root = values.sqrt()
    return LowRank.of((left * root).to(dtype), (root[:, None] * right.T).to(dtype), (out, inner))
