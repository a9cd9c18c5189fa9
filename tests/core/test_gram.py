"""Gram matrices against the float64 product, at every way that they are put together."""

import pytest
import torch

from core.gram import gram_matrix, triangles


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 64, 65, 130])
@pytest.mark.parametrize("n", [1, 130, 5001, 20011])
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
