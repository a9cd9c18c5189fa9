"""A Kronecker product is decomposed by its factors, as its dense matrix is."""

import pytest
import torch

from core import Lora, StateDict
from core.algebra.update import Dense
from tests import helpers
from tests.core.kinds import CPU, lokr
from tests.helpers import error, randn


@pytest.mark.parametrize("w1, w2", [((3, 4), (5, 6)), ((4, 3), (3, 7)), ((2, 2), (4, 3, 3, 3))])
@pytest.mark.parametrize("weight", [1.0, -0.5, 2.0])
def test_a_whole_lokr_is_decomposed_by_its_factors(w1, w2, weight):
    (module,) = Lora(StateDict(lokr("x", w1, w2))).modules.values()
    whole = module.update(CPU, torch.float64)
    update = whole.scaled(weight)
    matrix = update.values.flatten(1)
    assert torch.equal(matrix, weight * whole.values.flatten(1))
    product = update.low_rank()
    assert error(product.dense(), matrix) < 1e-12
    values = torch.linalg.svdvals(matrix)
    assert error(product.svd.values, values[: product.rank]) < 1e-12
    assert values[product.rank :].sum() < 1e-12
    for rank in (1, 5):
        cut = product.truncated(rank).dense()
        assert error(cut, matrix) == pytest.approx(helpers.best_error(matrix, rank), abs=1e-9)


def test_a_whole_lokr_has_no_more_rank_than_its_factors():
    tensors = {"x.lokr_w1": torch.full((4, 5), 1e3), "x.lokr_w2": randn((6, 8), "w2")}
    (module,) = Lora(StateDict(tensors)).modules.values()
    update = module.update(CPU, torch.float64)
    assert isinstance(update, Dense)
    assert update.low_rank().rank == len(update.low_rank().svd.values) == 6


@pytest.mark.parametrize("w1, w2", [((3, 4), (5, 6)), ((5, 6), (3, 4))])
def test_the_distance_of_two_products_is_that_of_their_matrices(w1, w2):
    """By the factors where these fit each other, by the matrices where they do not."""
    one, other = (
        next(iter(Lora(StateDict(lokr("x", *sizes, seed=seed))).modules.values()))
        for seed, sizes in ((1, ((3, 4), (5, 6))), (2, (w1, w2)))
    )
    first, second = one.update(CPU, torch.float64), other.update(CPU, torch.float64)
    exact = float((first.values - second.values).norm())
    assert first.distance(second) == pytest.approx(exact, rel=1e-9)
    close = first.scaled(1 + 1e-9)
    assert first.distance(close) == pytest.approx(1e-9 * first.frobenius_norm(), rel=1e-4)
