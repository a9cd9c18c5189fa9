"""Products entry by entry are the dense product, however they are scaled, shaped and cut."""

import torch

from core.algebra.hadamard import Hadamard, Pair
from tests.helpers import randn


def made(scale: float = 1.0) -> tuple[Hadamard, torch.Tensor]:
    """(the update [6, 5, 1, 1], its dense matrix)."""
    first, second = (
        Pair(randn((6, 2), seed, "left").double(), randn((2, 5), seed, "right").double())
        for seed in (1, 2)
    )
    dense = (first.left @ first.right) * (second.left @ second.right) * scale
    return Hadamard(first, second, (6, 5, 1, 1), scale), dense


def test_rows_are_those_of_the_dense_product():
    update, dense = made(-0.5)
    torch.testing.assert_close(update.rows_of_matrix(1, 4), dense[1:4])
    torch.testing.assert_close(update.scaled(3.0).rows_of_matrix(0, 6), 3.0 * dense)
    assert update.reshaped((6, 5)).shape == (6, 5)
