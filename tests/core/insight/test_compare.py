"""What two updates have in common, against dense matrices in float64."""

import pytest
import torch

from core import LowRank
from core.algebra.common_space import FOR_FIGURES, CommonSpace
from core.insight.compare import Overlap, overlap, principal_angles, suggested_weights
from tests.core.updates import KINDS, dense, inputs
from tests.helpers import error, randn

F32, F64 = torch.float32, torch.float64


def spaces(matrix, noise=2e-7):
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    live = s > noise * s[0]
    return u[:, live], vh[live].T


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", [(0, 1), (1, 2)])
def test_every_figure_is_that_of_the_dense_matrices(pair, kind, dtype):
    updates = inputs(kind, dtype)
    a, b = (dense(updates[index]) for index in pair)
    found = overlap(CommonSpace(updates), *pair)
    limit = 1e-6 if dtype == F32 else 1e-11
    assert found.cosine == pytest.approx(float((a * b).sum() / a.norm() / b.norm()), abs=limit)
    assert found.norm_ratio == pytest.approx(float(b.norm() / a.norm()), rel=limit)
    together = float((a + b).square().sum() / (a.square().sum() + b.square().sum()))
    assert found.interference == pytest.approx(together, abs=limit)
    for name, inside, other in (("first", a, b), ("second", b, a)):
        columns, rows = spaces(other)
        share = float((columns.T @ inside).square().sum() / inside.square().sum())
        assert found.shares[f"{name}_in_columns"] == pytest.approx(share, abs=limit)
        share = float((inside @ rows).square().sum() / inside.square().sum())
        assert found.shares[f"{name}_in_rows"] == pytest.approx(share, abs=limit)


def test_the_ends_of_every_scale():
    one = inputs("random", F64)[0]
    left, values, right = torch.linalg.svd(dense(one))
    apart = LowRank.of(left[:, 4:6] * values[0], right[4:6], one.shape)
    space = CommonSpace([one, one.scaled(-0.5), apart, LowRank.sum([one, apart]), one.scaled(0.0)])
    opposite = overlap(space, 0, 1)
    assert opposite.cosine == pytest.approx(-1) and opposite.norm_ratio == pytest.approx(0.5)
    assert opposite.interference == pytest.approx(0.25 / 1.25)
    assert list(opposite.shares.values()) == pytest.approx([1.0] * 4)
    foreign = overlap(space, 0, 2)
    assert foreign.cosine == pytest.approx(0, abs=1e-12)
    assert foreign.interference == pytest.approx(1)
    assert list(foreign.shares.values()) == pytest.approx([0.0] * 4, abs=1e-12)
    inside = overlap(space, 0, 3).shares  # "B contains A"
    assert inside["first_in_columns"] == pytest.approx(1)
    assert inside["second_in_columns"] < 0.99
    nothing = overlap(space, 0, 4)
    assert nothing.cosine == nothing.norm_ratio == 0 and nothing.interference == 1
    assert set(nothing.shares.values()) == {0.0}
    assert Overlap().interference == 1.0


def test_overlaps_of_weights_add_to_that_of_all_of_them():
    first, second = inputs("random", F64), inputs("wide", F64)
    both = overlap(CommonSpace(first), 0, 1) + overlap(CommonSpace(second), 0, 1)
    a, b = (torch.block_diag(dense(first[index]), dense(second[index])) for index in (0, 1))
    assert both.cosine == pytest.approx(float((a * b).sum() / a.norm() / b.norm()), abs=1e-12)


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 0.01, 30.0, 80.0, 90.0])
def test_principal_angles_are_those_that_the_spaces_were_turned_by(degrees):
    basis = torch.linalg.qr(randn((30, 8)).double()).Q
    angle = torch.deg2rad(torch.tensor([degrees, 90.0], dtype=F64))
    turned = basis[:, :2] * angle.cos() + basis[:, 2:4] * angle.sin()
    values = torch.tensor([3.0, 2.0], dtype=F64)
    one = LowRank.of(basis[:, :2] * values, basis[:, 4:6].T, (30, 30))
    other = LowRank.of(turned * values, basis[:, 5:7].T, (30, 30))
    space = CommonSpace([one, other])
    columns, rows = principal_angles(*space.directions)
    assert columns == pytest.approx([degrees, 90.0], rel=1e-6, abs=1e-12)
    assert rows == pytest.approx([0.0, 90.0], abs=1e-6)
    shorter, _ = principal_angles(space.directions[0], space.directions[1].leading(1))
    assert shorter == pytest.approx([degrees], rel=1e-6, abs=1e-12)
    assert principal_angles(space.directions[0].leading(0), space.directions[1])[0] == []


@pytest.mark.parametrize("kind", ["random", "trained"])
@pytest.mark.parametrize("levels", [[1.0, 1.0, 1.0], [0.7, 0.3, 1.2]])
def test_under_the_suggested_weights_each_effect_has_its_level(kind, levels):
    updates = inputs(kind, F64)
    weights = suggested_weights(CommonSpace(updates).inner, levels, F64)
    whole = sum(w * dense(u) for w, u in zip(weights, updates, strict=True))
    effects = [float((whole * dense(u)).sum() / dense(u).square().sum()) for u in updates]
    assert effects == pytest.approx(levels, rel=1e-8)


def test_suggestions_for_what_is_apart_the_same_or_nothing():
    one, other, _ = inputs("random")
    zero = one.scaled(0.0)
    assert suggested_weights(torch.diag(torch.tensor([4.0, 9.0]).double()), [0.7, 1.0], F64) == [
        pytest.approx(0.7), pytest.approx(1.0),
    ]  # fmt: skip
    same = CommonSpace([one, one, zero]).inner
    assert suggested_weights(same, [1.0, 1.0, 0.4], F32) == pytest.approx([0.5, 0.5, 0.4])
    inner = CommonSpace([one, other]).inner
    first, _ = suggested_weights(inner, [1.0, 1.0], F32)
    twice, _ = suggested_weights(CommonSpace([one.scaled(2.0), other]).inner, [0.5, 1.0], F32)
    assert error(torch.tensor([2 * twice]), torch.tensor([first]).double()) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_faster_space_is_good_to_five_digits(kind):
    updates = inputs(kind)
    exact, found = (overlap(CommonSpace(updates, nearly=n), 0, 1) for n in (0.0, FOR_FIGURES))
    sizes = [exact.first, exact.second, (exact.first * exact.second) ** 0.5]
    sizes += [exact.first, exact.first, exact.second, exact.second]
    for name, size in zip(vars(exact), sizes, strict=True):
        assert abs(getattr(found, name) - getattr(exact, name)) < 1e-5 * size, name
