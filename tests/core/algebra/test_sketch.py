"""The leading part of a whole matrix, against a dense decomposition in float64."""

from math import hypot

import pytest
import torch

from core.algebra.sketch import exactly, sketched
from tests.helpers import error, randn


def matrix(out: int, inner: int, fall: float, *seed) -> torch.Tensor:
    """One whose singular values fall by this power."""
    u, v = (torch.linalg.qr(randn((n, min(out, inner)), *seed, n).double()).Q for n in (out, inner))
    return u * torch.arange(1, min(out, inner) + 1) ** -fall @ v.T


@pytest.mark.parametrize("shape", [(200, 120), (120, 200), (160, 16, 3, 3)])
@pytest.mark.parametrize("fall", [0.5, 1.5])
def test_it_is_nearly_the_optimum_and_its_error_is_measured(shape, fall):
    exact = matrix(shape[0], torch.Size(shape[1:]).numel(), fall, shape)
    values = torch.linalg.svdvals(exact)
    for rank in (1, 5, 12):
        sketch = sketched(exact.float(), shape, lambda s: True, rank)
        assert 3 * len(sketch.values) < len(values), "grown beyond what was asked for"
        cut = sketch.update.truncated(rank)
        assert cut.shape == shape
        lost = float((exact - cut.dense().double()).norm())
        best = float(values[rank:].norm())
        assert best <= lost * (1 + 1e-6) <= 1.02 * best
        assert sketch.error(rank) == pytest.approx(lost, rel=1e-4)
        assert sketch.norm == pytest.approx(float(values.norm()), rel=1e-6)


def test_it_grows_until_there_is_enough_and_is_exact_where_that_is_much():
    exact = matrix(180, 150, 0.3)
    seen = []

    def enough(sketch):
        seen.append(len(sketch.values))
        return len(sketch.values) > 30

    sketched(exact.float(), exact.shape, enough, 4)
    assert seen == [12, 24, 48]
    whole = sketched(exact.float(), exact.shape, lambda s: False, 4)
    assert whole.left == 0.0 and len(whole.values) == 150
    assert error(whole.update.dense(), exact) < 1e-5
    # What is not known yet is spread evenly, and holds what is left.
    part = sketched(exact.float(), exact.shape, lambda s: True, 4)
    assert hypot(*part.spectrum.tolist()) == pytest.approx(part.norm, rel=1e-5)
    assert (
        len(part.spectrum) == 150
        and error(exactly(exact, exact.shape).spectrum, torch.linalg.svdvals(exact)) < 1e-9
    )


def test_a_product_of_low_rank_has_no_more_directions_and_leaves_rounding():
    low = randn((300, 4), "u") @ randn((4, 200), "v")
    sketch = sketched(low * 1e-20, low.shape, lambda s: True, 16)
    assert len(sketch.values) <= 24 and sketch.error(4) < 1e-5 * sketch.norm
    zero = sketched(low * 0, low.shape, lambda s: True, 16)
    assert zero.norm == zero.left == 0.0 and not len(zero.values)


def test_one_seed_one_result():
    tall = matrix(90, 80, 1.0).float()
    one, two = (sketched(tall, tall.shape, lambda s: True, 4, seed=1) for _ in range(2))
    assert torch.equal(one.update.up, two.update.up)
