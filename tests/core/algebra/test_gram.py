"""Gram matrices against the float64 product, at every way that they are put together."""

import pytest
import torch

from core.algebra.gram import gram_matrix, triangles
from tests.helpers import tall
from tests.marks import one_in


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 64, 65, 130])
@pytest.mark.parametrize("n", [1, 130, 5001, pytest.param(20011, marks=pytest.mark.slow)])
def test_blocks_strips_and_remainders_add_up_to_the_whole(n, k, dtype):
    tall = torch.randn(n, k, generator=torch.Generator().manual_seed(n + k))
    exact = tall.double().T @ tall.double()
    error = (gram_matrix(tall, dtype) - exact).abs().max() / exact.abs().max()
    assert error < (1e-13 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("k", [3, 130])
def test_triangles_have_the_gram_matrix_of_their_factor(k):
    up, down = (torch.randn(n, k, generator=torch.Generator().manual_seed(n)) for n in (700, 900))
    for factor, r in zip((up, down), triangles((up, down)), strict=True):
        exact = factor.double().T @ factor.double()
        assert torch.allclose(r.T @ r, exact, rtol=0, atol=1e-6 * float(exact.max()))


def moved(factor: torch.Tensor, triangle: torch.Tensor) -> float:
    """The largest relative change of a singular value, from the factor to its triangle."""
    exact = torch.linalg.svdvals(factor.double())
    return float((torch.linalg.svdvals(triangle) / exact - 1).abs().max())


@pytest.mark.parametrize("n, k", one_in(2, [(200, 8), (3000, 64)]))
@pytest.mark.parametrize("condition", [1, 30, 100, 300, 1e3, 1e4, 1e6])
def test_no_direction_of_nearly_dependent_columns_is_lost(n, k, condition):
    good, bad = tall(n, k, 1, seed=1), tall(n, k, condition)
    for factor, triangle in zip((good, bad), triangles((good, bad)), strict=True):
        assert moved(factor, triangle) < 2e-4


def test_precise_triangles_know_more_digits_than_float32():
    factor = tall(3000, 16, 10)
    assert moved(factor, triangles([factor], precise=True)[0]) < 1e-12


def test_columns_of_zeros_and_columns_that_are_alike_are_no_obstacle():
    factor = tall(100, 5, 1)
    factor[:, 1] = 0
    factor[:, 3] = -2 * factor[:, 0]
    for precise in (False, True):
        (triangle,) = triangles([factor], precise)
        exact = factor.double().T @ factor.double()
        assert torch.allclose(triangle.T @ triangle, exact, rtol=0, atol=1e-12)
