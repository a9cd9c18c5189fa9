"""Order statistics by bins: exact however many candidates a bin has."""

import pytest
import torch

from core.algebra import bins
from core.insight import elements
from core.insight.elements import Entries
from tests.core.insight.entries import assert_exact
from tests.helpers import randn


@pytest.mark.slow
@pytest.mark.parametrize("held", [0, 50, 1 << 22])
def test_order_statistics_stay_exact_when_their_candidates_are_many(held, monkeypatch):
    monkeypatch.setattr(bins, "HELD_CODES", held)
    monkeypatch.setattr(elements, "TILE", 100)
    for matrix in (randn((64, 64)).round(), torch.ones(64, 64), 1 + 1e-4 * randn((64, 64))):
        assert_exact(Entries.of_tensor(matrix), matrix)
