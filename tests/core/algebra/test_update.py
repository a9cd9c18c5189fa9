"""Updates stored as factors or as a matrix: rows, padding, sums of both."""

import pytest
import torch

from core import Dense, LowRank
from core.algebra.update import distance, inner, total
from tests.core.products import exact, factors
from tests.helpers import error, randn


@pytest.mark.parametrize("stored", ["factors", "dense"])
def test_rows_padding_and_rolling_act_on_rows(stored):
    update = factors(10, 6)
    full = exact(update).float()
    kept = update if stored == "factors" else Dense(full)

    def entries(result):
        return exact(result).float() if stored == "factors" else result.values

    assert torch.equal(entries(kept.rows(2, 5)), full[2:5])
    padded = entries(kept.padded(1, 2))
    assert torch.equal(padded[1:-2], full)
    assert not padded[0].any() and not padded[-2:].any()
    assert torch.equal(entries(kept.rolled()), torch.cat([full[5:], full[:5]]))
    assert kept.rows(2, 5).shape[0] == 3 and kept.padded(1, 2).shape[0] == 13


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (4, 3, 3, 3), (1, 5)])
def test_a_dense_update_is_exactly_a_product(shape):
    values = randn(shape)
    product = Dense(values).low_rank()
    assert product.shape == shape
    assert torch.equal(product.dense(), values.flatten(1))
    assert product.rank == min(shape[0], values[0].numel())


@pytest.mark.parametrize("shape", [(5,), ()])
def test_a_dense_vector_or_number_is_a_column(shape):
    values = randn(shape) if shape else torch.tensor(2.5)
    assert torch.equal(Dense(values).matrix, values.reshape(-1)[:, None])
    assert torch.equal(Dense(values).low_rank().dense(), values.reshape(-1)[:, None])
    assert torch.equal(Dense(values).rows(0, 1).values, values.reshape(-1)[:1])


def test_total_of_mixed_kinds_is_dense_and_keeps_the_kernel():
    product = LowRank.of(randn((6, 2)), randn((2, 4)), (6, 4))
    values = randn((6, 4, 1, 1))
    mixed = total([product, Dense(values)])
    assert isinstance(mixed, Dense) and mixed.shape == (6, 4, 1, 1)
    assert error(mixed.values.flatten(1), exact(product) + values.flatten(1).double()) < 1e-6
    assert isinstance(total([product, product]), LowRank)


@pytest.mark.parametrize("stored", ["thin thin", "thin dense", "dense thin", "dense dense"])
def test_inner_products_and_distances_of_thin_and_whole_updates(stored):
    one, other = factors(seed=1, dtype=torch.float64), factors(seed=2, dtype=torch.float64)
    first, second = exact(one), exact(other)
    kept = [
        update if way == "thin" else Dense(exact(update))
        for way, update in zip(stored.split(), (one, other), strict=True)
    ]
    assert inner(*kept) == pytest.approx(float((first * second).sum()), rel=1e-9)
    assert distance(*kept) == pytest.approx(float((first - second).norm()), rel=1e-9)
