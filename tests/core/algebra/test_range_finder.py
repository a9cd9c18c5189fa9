"""The streaming range finder against the singular value decomposition of the whole matrix."""

import pytest
import torch

from core.algebra.range_finder import leading
from tests.helpers import best_error, error, randn


def matrix(out=60, inner=45, fall=0.9, dtype=torch.float32, seed=0):
    left = torch.linalg.qr(randn((out, out), seed, "left").double()).Q
    right = torch.linalg.qr(randn((inner, inner), seed, "right").double()).Q
    n = min(out, inner)
    values = fall ** torch.arange(n).double()
    return ((left[:, :n] * values) @ right[:, :n].T).to(dtype)


def found(whole, rank, rows=7, seed=0):
    return leading(lambda: iter(whole.split(rows)), tuple(whole.shape), rank, seed, whole)


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("shape", [(60, 45), (45, 60), (5, 60), (60, 5), (1, 9)])
@pytest.mark.parametrize("rank", [1, 4, 20, 100])
@pytest.mark.parametrize("fall", [0.5, 0.9, 1.0])
def test_the_error_is_measured_and_near_the_best(fall, rank, shape, dtype, limit):
    whole = matrix(*shape, fall, dtype)
    result = found(whole, rank)
    dense = result.update.up.double() @ result.update.down.double()
    norm = float(torch.linalg.vector_norm(whole.double()))
    assert result.norm == pytest.approx(norm, rel=1e-6)
    assert result.update.rank <= rank and result.update.dtype == dtype
    assert error(dense, whole.double()) == pytest.approx(result.error / norm, rel=1e-3, abs=limit)
    best = best_error(whole.double(), rank)
    assert result.error / norm == pytest.approx(best, rel=0.02, abs=limit)


def test_what_has_the_rank_comes_back():
    whole = randn((50, 3)).double() @ randn((3, 40)).double()
    result = found(whole, 3)
    assert error(result.update.dense(), whole) < 1e-13 and result.error < 1e-12 * result.norm


def test_one_seed_one_result_whatever_the_tiles():
    whole = matrix(fall=0.99, dtype=torch.float64)
    one = found(whole, 5, rows=1).update.dense()
    assert error(found(whole, 5, rows=60).update.dense(), one) < 1e-10
    assert torch.equal(found(whole, 5, rows=1).update.dense(), one)
    assert error(found(whole, 5, seed=1).update.dense(), one) > 1e-10


@pytest.mark.parametrize("scale", [0.0, 1e-15, 1e15])
def test_the_size_of_the_matrix_does_not_matter(scale):
    whole = matrix() * scale
    result = found(whole, 4)
    if scale == 0:
        assert result.norm == result.error == 0 and not result.update.dense().any()
    else:
        assert error(result.update.dense(), whole.double()) == pytest.approx(
            best_error(matrix().double(), 4), rel=0.02
        )


def test_kernels_keep_their_shape():
    whole = matrix(20, 18)
    result = leading(lambda: iter(whole.split(6)), (20, 2, 3, 3), 4, 0, whole)
    assert result.update.shape == (20, 2, 3, 3)
