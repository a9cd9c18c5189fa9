"""Exact order statistics of magnitudes, whatever a sample says of them."""

import pytest
import torch

from core.algebra.sizes import Sizes
from tests.helpers import randn

VALUES = randn((60, 50)) ** 3
VALUES[:5] = 0
ORDERED = VALUES.abs().flatten().sort().values
RANKS = [0, 299, 300, 301, 1500, 2400, 2999]
SAMPLES = {
    "every third": VALUES[::3, ::3],
    "all": VALUES,
    "one": VALUES[7:8, :1],
    "too small": VALUES[::3, ::3] / 1000,
    "too large": VALUES[::3, ::3] * 1000,
    "zeros": VALUES[:5],
}


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entries_at_ranks_are_exact_whatever_the_sample_was(sample, dtype):
    visits = []

    def tiles():
        visits.append(1)
        yield from VALUES.to(dtype).split(7)

    found = Sizes(tiles, SAMPLES[sample].to(dtype)).at(RANKS, VALUES.numel())
    assert found == ORDERED[RANKS].tolist()
    assert len(visits) == 1 if sample == "all" else len(visits) <= 3
