"""The common space against dense matrices in float64."""

import pytest
import torch

from core import LowRank
from core.algebra.common_space import Basis, CommonSpace, orthonormal, polar
from core.errors import MismatchError
from tests.core.updates import KINDS, LIMIT, dense, inputs
from tests.helpers import error, randn, tall

F32, F64 = torch.float32, torch.float64


def back(space: CommonSpace, matrix: torch.Tensor) -> torch.Tensor:
    return dense(space.update(matrix))


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("kind", KINDS)
def test_every_update_and_their_sum_come_back(kind, dtype):
    updates = inputs(kind, dtype)
    space = CommonSpace(updates)
    expected = [dense(update) for update in updates]
    for index, matrix in enumerate(expected):
        assert error(back(space, space.matrix(index)), matrix) < LIMIT[dtype]
    assert error(back(space, space.sum), sum(expected)) < LIMIT[dtype]


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("kind", KINDS)
def test_inner_products_and_directions_are_those_of_the_dense_matrices(kind, dtype):
    updates = inputs(kind, dtype)
    space = CommonSpace(updates)
    flat = torch.stack([dense(update).flatten() for update in updates])
    norms = flat.norm(dim=1)
    assert error(space.inner, flat @ flat.T) < LIMIT[dtype]
    assert error(space.norms, norms) < LIMIT[dtype]
    assert error(space.cosines, flat @ flat.T / norms / norms[:, None]) < LIMIT[dtype]
    for own, update in zip(space.directions, updates, strict=True):
        values = torch.linalg.svdvals(dense(update))
        assert error(own.values, values[: own.rank]) < LIMIT[dtype]
        assert values[own.rank :].sum() < LIMIT[dtype] * values[0]
        whole = space.product(own.left * own.values, own.right)
        assert error(dense(whole), dense(update)) < LIMIT[dtype]


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("kind", KINDS)
def test_the_coordinates_are_those_of_orthonormal_bases(kind, dtype):
    """Also for weak directions, which methods make as strong as the others."""
    space = CommonSpace(inputs(kind, dtype))
    up = space.up(torch.eye(len(space.left), dtype=F64))
    down = space.down(torch.eye(len(space.right), dtype=F64))
    for q in (up, down.T):
        assert error(q.T @ q, torch.eye(q.shape[1], dtype=F64)) < (1e-6 if dtype == F32 else 1e-10)
    assert error(up.T @ space.factors.up.double(), space.columns.coordinates) < 1e2 * LIMIT[dtype]


@pytest.mark.parametrize("condition", [1.0, 3e1, 1e3, 1e5, 1e6])
def test_a_basis_keeps_its_digits_as_columns_come_close(condition):
    factor = tall(300, 12, condition)
    basis = Basis.of(factor)
    q = factor.double() @ basis.combination
    assert error(q.T @ q, torch.eye(12, dtype=F64)) < 1e-6
    assert error(q @ basis.coordinates, factor.double()) < 1e-6


def test_dependent_columns_and_zeros_make_no_directions():
    one = inputs("random", F32)[0]
    zero = LowRank.of(one.up * 0, one.down, one.shape)
    space = CommonSpace([one, zero, one.scaled(0.3), one.scaled(-1 / 3)])
    assert space.sum.shape == (one.rank, one.rank)
    assert torch.isfinite(space.columns.combination).all()
    assert space.norms[1] == 0 and (space.cosines[1] == 0).all()
    assert [own.rank for own in space.directions] == [one.rank, 0, one.rank, one.rank]
    assert error(back(space, space.sum), (1 + 0.3 - 1 / 3) * dense(one)) < 1e-6


def test_the_sum_of_opposites_is_nothing_and_rank_zero_is_allowed():
    one = inputs("random", F32)[0]
    assert CommonSpace([one, one.scaled(-1.0)]).update(torch.zeros(4, 4).double()).rank == 0
    opposite = CommonSpace([one.scaled(0.3), one.scaled(-0.3)])
    assert opposite.update(opposite.sum).rank == 0
    empty = LowRank.of(one.up[:, :0], one.down[:0], one.shape)
    assert CommonSpace([empty, empty]).update(CommonSpace([empty, empty]).sum).rank == 0
    assert CommonSpace([empty, one]).norms[0] == 0


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_size_of_one_input_does_not_blur_another(scale):
    first, second, _ = inputs("random", F32)
    space = CommonSpace([first, LowRank.of(second.up * scale, second.down, second.shape)])
    values = torch.linalg.svdvals(scale * dense(second))[: second.rank]
    assert error(space.directions[1].values, values) < 1e-6


def test_polar_and_orthonormal_are_those_of_the_svd():
    matrix = randn((9, 4)).double()
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    assert error(polar(matrix, torch.float64), u @ vh) < 1e-14
    basis = orthonormal(torch.cat([matrix, matrix], dim=1), torch.float64)
    assert basis.shape == (9, 4) and error(basis @ basis.T, u @ u.T) < 1e-14
    twice = polar(torch.cat([matrix, matrix], dim=1), torch.float64)
    assert error(twice, torch.cat([u @ vh, u @ vh], dim=1) / 2**0.5) < 1e-14


def test_updates_of_different_sizes_have_no_common_space():
    with pytest.raises(MismatchError, match="different sizes"):
        CommonSpace([LowRank.of(randn((4, 2)), randn((2, n)), (4, n)) for n in (3, 5)])
