"""The algebra of factors against the same thing on dense matrices in float64.

Also of decomposition.py: every decomposition here is its.
"""

import pytest
import torch

from core import LowRank
from tests.core.products import exact, factors, spectrum_of
from tests.helpers import best_error, error, tall

SHAPES = [(12, 7), (7, 12), (9, 9), (40, 3), (3, 40)]


def test_sum_is_the_sum_of_the_products():
    terms = [factors(rank=r, seed=r) for r in (1, 3, 5)]
    both = LowRank.sum(terms)
    assert both.rank == 9
    assert error(exact(both), sum(exact(term) for term in terms)) < 1e-12
    assert LowRank.sum(terms[:1]) is terms[0]


@pytest.mark.parametrize("shape", [(12, 9), (9, 12)])
@pytest.mark.parametrize("weight", [0.5, 1.0, -1.0, -0.3, 0.0, 7.0])
def test_scaled_multiplies_the_product_once(weight, shape):
    update = factors(*shape)
    assert error(exact(update.scaled(weight)), weight * exact(update)) < 1e-6


def test_balanced_columns_are_as_long_as_their_rows():
    update = LowRank.of(factors().up * 1e4, factors().down * 1e-4, (12, 9))
    update.up[:, 0] = 0  # A column of zeros has no length to share,
    update.down[1] = 0  # and neither has a row.
    balanced = update.balanced()
    ratio = balanced.up.norm(dim=0)[2:] / balanced.down.norm(dim=1)[2:]
    assert (ratio > 0.49).all() and (ratio < 2.01).all()
    assert torch.equal(exact(balanced), exact(update))  # Powers of two round nothing.
    assert torch.isfinite(balanced.up).all() and torch.isfinite(balanced.down).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 3, 8, 20])
def test_singular_values_are_those_of_the_dense_matrix(shape, rank, dtype):
    update = factors(*shape, rank, dtype=dtype)
    expected = torch.linalg.svdvals(exact(update))[: min(rank, *shape)]
    values = update.svd.values
    assert values.dtype == torch.float64 and len(values) == len(expected)
    assert error(values, expected) < (3e-7 if dtype == torch.float32 else 1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_truncation_reaches_the_eckart_young_error(shape, dtype):
    update = factors(*shape, 6, dtype=dtype)
    full = exact(update)
    for rank in range(1, min(6, *shape) + 1):
        cut = update.truncated(rank)
        assert cut.rank == rank and cut.up.dtype == dtype and cut.shape == update.shape
        assert error(exact(cut), full) == pytest.approx(best_error(full, rank), rel=1e-4, abs=1e-6)


def test_truncated_factors_share_the_singular_values_evenly():
    cut = factors(rank=5, dtype=torch.float64).truncated(3)
    values = torch.linalg.svdvals(exact(cut))[:3]
    assert torch.allclose(cut.up.T @ cut.up, torch.diag(values))
    assert torch.allclose(cut.down @ cut.down.T, torch.diag(values))


def test_dependent_columns_give_no_more_values_than_the_rank():
    update = factors(rank=3)
    doubled = LowRank.sum([update, update.scaled(0.5), update.scaled(-0.2)])
    assert doubled.rank == 9
    assert len(doubled.svd.values) == 3
    assert error(exact(doubled.truncated(9)), 1.3 * exact(update)) < 1e-6


@pytest.mark.parametrize("weight", [1.0, 0.3, 1e-6, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [4, 8])  # 2 * 8 columns are more than dW can have rank.
def test_what_cancels_has_no_singular_values(weight, dtype, rank):
    update = factors(rank=rank, dtype=dtype)
    update = LowRank.of(update.up * 1e-3, update.down * 1e3, update.shape)
    nothing = LowRank.sum([update.scaled(weight), update.scaled(-weight)])
    assert len(nothing.svd.values) == 0
    assert nothing.spectral_norm() == 0.0
    assert nothing.truncated(4).rank == 0


@pytest.mark.parametrize("up, down", [(1e6, 1e-6), (1e-8, 1.0), (1e-12, 1e-3), (1e8, 1e8)])
def test_the_size_of_the_factors_does_not_matter(up, down):
    update = factors()
    resized = LowRank.of(update.up * up, update.down * down, update.shape)
    assert len(resized.svd.values) == 4
    assert error(resized.svd.values, update.svd.values * up * down) < 1e-6


def test_terms_whose_factors_are_of_very_different_size_all_count():
    # One trainer puts all of the size into up, the other into down: the products are alike.
    one, other = factors(seed=1), factors(seed=2)
    terms = [
        LowRank.of(one.up * 1e4, one.down * 1e-4, one.shape),
        LowRank.of(other.up * 1e-4, other.down * 1e4, other.shape),
    ]
    both = LowRank.sum(terms)
    assert len(both.svd.values) == 8
    assert error(exact(both.truncated(8)), exact(both)) < 1e-6


@pytest.mark.parametrize("size", [1e-10, 1.0, 1e10])
def test_small_values_of_a_wide_spectrum_are_kept(size):
    values = [size, size * 1e-2, size * 1e-4]
    assert error(spectrum_of(values).svd.values, torch.tensor(values).double()) < 1e-6
    assert len(spectrum_of(values).svd.values) == 3


@pytest.mark.parametrize("cut", [3, 8, 12])
@pytest.mark.parametrize("dtype, noise", [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_nearly_dependent_columns_cost_no_accuracy(cut, dtype, noise):
    update = LowRank.of(tall(300, 12, 1e6).to(dtype), tall(200, 12, 1e6, 1).T.to(dtype), (300, 200))
    full = exact(update)
    assert error(exact(update.truncated(12)), full) < noise
    expected = best_error(full, cut)
    assert error(exact(update.truncated(cut)), full) == pytest.approx(expected, rel=1e-4, abs=noise)


def test_singular_values_across_ten_decades_keep_their_digits():
    values = [10.0**-decade for decade in range(11)]
    update = spectrum_of(values, dtype=torch.float64)
    found = update.svd.values
    assert torch.allclose(found, torch.tensor(values, dtype=torch.float64), rtol=1e-4, atol=0)
    full = exact(update)
    for rank in (1, 4, 9):
        cut = error(exact(update.truncated(rank)), full)
        assert cut == pytest.approx(best_error(full, rank), rel=1e-4)


def test_zeros_have_no_singular_values():
    nothing = LowRank.of(torch.zeros(5, 2), torch.zeros(2, 4), (5, 4))
    assert len(nothing.svd.values) == len(nothing.singular_values) == 0


@pytest.mark.parametrize("out, inner, rank", [(5, 4, 0), (0, 4, 2), (5, 0, 2), (0, 0, 0)], ids=str)
def test_empty_factors_are_the_zero_update(out, inner, rank):
    empty = factors(out, inner, rank)
    assert len(empty.svd.values) == 0 and empty.truncated(3).rank == 0
    assert empty.frobenius_norm() == empty.spectral_norm() == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_and_inner_products(dtype):
    one, other = factors(seed=1, rank=3, dtype=dtype), factors(seed=2, rank=5, dtype=dtype)
    full, full_other = exact(one), exact(other)
    values = torch.linalg.svdvals(full)
    near = {"rel": 1e-6}
    assert one.frobenius_norm() == pytest.approx(float(full.norm()), **near)
    assert one.spectral_norm() == pytest.approx(float(values[0]), **near)
    assert one.inner(other) == pytest.approx(float((full * full_other).sum()), **near)
    terms = one.up.double().norm(dim=0) * one.down.double().norm(dim=1)
    assert one.magnitude() == pytest.approx(float(terms.norm()), **near)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("left", [1.0, 1e-1, 1e-3])
@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e6, 1e20])
def test_the_norm_of_terms_that_cancel_keeps_its_digits(seed, left, scale):
    one, other = factors(300, 200, seed=seed), factors(300, 200, seed=seed + 10)
    up = torch.cat([one.up, -one.up + left * other.up], 1) * scale
    update = LowRank.of(up, torch.cat([one.down, one.down]), (300, 200))
    assert update.frobenius_norm() == pytest.approx(float(exact(update).norm()), rel=1e-6)


@pytest.mark.parametrize("elements, height", [(1, 1), (36, 4), (37, 4), (10_000, 10)])
def test_tiles_are_the_rows_from_top_to_bottom(elements, height):
    update = factors(10, 9)
    tiles = [tile.clone() for tile in update.tiles(elements)]
    assert torch.allclose(torch.cat(tiles), update.dense())
    assert {len(tile) for tile in tiles[:-1]} <= {height} and len(tiles[-1]) <= height


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("shape", [(40, 30), (5, 7)])
def test_the_norms_of_the_parts_of_a_sum(shape, decomposed):
    """From the core where it is known, and from the factors where it is not or is of the matrix."""
    parts = [factors(*shape, rank, seed=rank).scaled(0.5) for rank in (3, 1, 4)]
    whole = LowRank.sum(parts)
    if decomposed:
        assert whole.svd.values[0] > 0
    expected = [float(torch.linalg.matrix_norm(exact(part))) for part in parts]
    assert whole.norms([3, 1, 4]) == pytest.approx(expected, rel=1e-6)
