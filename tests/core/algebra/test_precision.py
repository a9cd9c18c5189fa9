"""Which numbers are beyond the range of float32, and how many digits a dtype has."""

import pytest
import torch

from core.algebra.precision import eps, ordinary, wide_enough


@pytest.mark.parametrize(
    "largest, usual", [(0.0, True), (1.0, True), (1e-20, False), (1e20, False), (1e14, False)]
)
def test_ordinary_numbers_are_neither_huge_nor_tiny(largest, usual):
    assert ordinary(torch.tensor([0.0, largest])) == usual
    wanted = torch.float32 if usual else torch.float64
    assert wide_enough(torch.float32, 1.0, largest) == wanted


def test_nothing_is_ordinary():
    assert ordinary(torch.ones(0))


def test_whole_numbers_are_exact():
    assert eps(torch.int8) == 0.0 and eps(torch.float16) == 2.0**-10
