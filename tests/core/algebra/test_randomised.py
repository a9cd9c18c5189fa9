"""The randomised SVD: near the optimum, the same for one seed, exact where nothing is cut."""

import torch

from core.algebra.randomised import randomised
from tests.core.products import exact, factors, spectrum_of
from tests.helpers import best_error, error


def sketched(update, rank, seed=0, oversampling=4, power=2):
    generator = torch.Generator().manual_seed(seed)
    return randomised(update, rank, oversampling, power, generator)


def test_randomised_svd_is_near_the_optimum_and_seeded():
    update = spectrum_of([2.0**-i for i in range(12)], 40, 30)
    full = exact(update)
    first = sketched(update, 4)
    assert error(exact(first.truncated(4)), full) < 1.01 * best_error(full, 4)
    again, other = sketched(update, 4), sketched(update, 4, seed=1)
    assert torch.equal(first.svd.values, again.svd.values)
    assert torch.equal(first.truncated(4).up, again.truncated(4).up)
    assert not torch.equal(first.svd.values, other.svd.values)


def test_randomised_svd_is_exact_once_the_sketch_covers_the_rank():
    update = factors(30, 20, 5)
    assert error(exact(sketched(update, 3).truncated(5)), exact(update)) < 1e-5
