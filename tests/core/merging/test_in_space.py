"""Methods in the common space against their papers' formulas on dense matrices in float64."""

from math import inf

import pytest
import torch

from core import LowRank
from core.errors import SettingError
from core.merging.merge import Merge
from tests.core.updates import KINDS, dense, inputs
from tests.helpers import error, randn

F32, F64 = torch.float32, torch.float64
# Directions of 1e-8 have half of the digits left.
LIMIT = {F32: 1e-5, F64: 1e-10}
NEAR = {F32: 1e-5, F64: 1e-7}
WEIGHTS = [0.8, 0.5, 1.3]
# What float32 rounds away; in float64 directions of 1e-8 are in what nearly depends.
NOISE = {F32: 2e-7, F64: 1e-12}


def svd(matrix, noise, beside=None):
    """The singular value decomposition, U, S, V, of what is not noise beside another matrix."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    live = int((s > noise * torch.linalg.matrix_norm(matrix if beside is None else beside)).sum())
    return u[:, :live], s[:live], vh[:live].T


def whitened(columns, noise):
    u, s, vh = torch.linalg.svd(columns, full_matrices=False)
    live = s > 2 * noise * s[0]
    return u[:, live] @ vh[live]


def on_the_sphere(matrices, weights, noise):
    """The Karcher mean by its definition: where the weighted logarithms cancel."""
    units = torch.stack([m.flatten() / m.norm() for m in matrices])
    shares = torch.tensor(weights, dtype=F64) / sum(weights)
    mean = shares @ units
    for _ in range(300):
        mean = mean / mean.norm()
        cosines = units @ mean
        off = units - cosines[:, None] * mean
        sizes = off.norm(dim=1)
        logs = off * torch.where(sizes > 0, torch.atan2(sizes, cosines) / sizes, 1.0)[:, None]
        mean = mean + shares @ logs
    size = sum(m.norm() for m in matrices)
    return size * (mean / mean.norm()).reshape(matrices[0].shape)


def slerp(matrices, weights):
    a, b = (m / m.norm() for m in matrices)
    angle = 2 * torch.atan2((a - b).norm(), (a + b).norm())
    t = weights[1] / sum(weights)
    mean = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
    return mean * sum(m.norm() for m in matrices)


def svd_average(matrices, weights, noise):
    u, s, v = svd(sum(matrices), noise)
    target = torch.cat([u * s.sqrt(), v * s.sqrt()])
    mean = torch.zeros_like(target)
    for matrix, weight in zip(matrices, weights, strict=True):
        u, s, v = svd(matrix, noise)
        own = torch.cat([u * s.sqrt(), v * s.sqrt()])
        mean += (weight / sum(weights)) ** 0.5 * own @ whitened(own.T @ target, noise)
    return mean[: len(u)] @ mean[len(u) :].T


def tsv(matrices, weights, noise, keep=1.0):
    most = min(matrices[0].shape) // len(matrices)
    parts = []
    for u, s, v in (svd(matrix, noise) for matrix in matrices):
        kept = min(most, -int(-keep * len(s) // 1))
        parts.append((u[:, :kept], s[:kept], v[:, :kept]))
    us, ss, vs = zip(*parts, strict=True)
    left, right = (whitened(torch.cat(parts, dim=1), noise) for parts in (us, vs))
    return left @ torch.diag(torch.cat(ss)) @ right.T


def iso(matrices, weights, noise, common=1.0):
    u, s, v = svd(sum(matrices), noise)
    each = round((len(s) - int(common * len(s))) / len(matrices))
    first = len(s) - each * len(matrices)
    us, ss, vs = [u[:, :first]], [s[:first]], [v[:, :first]]
    for matrix in matrices:
        rest = matrix - us[0] @ us[0].T @ matrix
        u, s, v = svd(rest, noise, matrix)
        us, ss, vs = [*us, u[:, :each]], [*ss, s[:each]], [*vs, v[:, :each]]
    left, right = (whitened(torch.cat(parts, dim=1), noise) for parts in (us, vs))
    return torch.cat(ss).mean() * left @ right.T


def knots(matrices, weights, noise, density=0.5, elect=True):
    u, s, v = svd(torch.cat(matrices, dim=1), noise)
    parts = []
    for part in v.T.split(matrices[0].shape[1], dim=1):
        least = part.abs().flatten().sort(descending=True).values[int(density * part.numel()) - 1]
        parts.append(torch.where(part.abs() >= least, part, 0.0))
    stack = torch.stack(parts)
    if elect:
        agree = (stack * stack.sum(0)) > 0
        merged = (stack * agree).sum(0) / agree.sum(0).clamp_min(1)
    else:
        merged = stack.sum(0)
    return u @ torch.diag(s) @ merged


def avoiding(matrices, noise, of_columns, of_rows):
    result = matrices[0]
    for index in range(1, len(matrices)):
        u, _, _ = svd(torch.cat(matrices[:index], dim=1), noise)
        _, _, v = svd(torch.cat(matrices[:index], dim=0), noise)
        rest = matrices[index] - of_columns * u @ u.T @ matrices[index]
        result = result + rest - of_rows * rest @ v @ v.T
    return result


def null_space(matrices, weights, noise, mu=1.0):
    return avoiding(matrices, noise, 0.0, 1.0 if mu == inf else mu / (1 + mu))


def orthogonal(matrices, weights, noise, dial=1.0):
    return avoiding(matrices, noise, dial, dial)


FORMULAS = [
    ("sum", {}, lambda matrices, *_: sum(matrices)),
    ("karcher", {}, on_the_sphere),
    ("svd-average", {}, svd_average),
    ("tsv", {}, tsv),
    ("tsv", {"keep": 0.5}, tsv),
    ("iso", {}, iso),
    ("iso", {"common": 0.5}, iso),
    ("knots", {}, knots),
    ("knots", {"density": 0.3, "elect": False}, knots),
    ("np", {}, null_space),
    ("np", {"mu": inf}, null_space),
    ("orthogonal", {}, orthogonal),
    ("orthogonal", {"dial": 0.4}, orthogonal),
]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name, parameters, formula", FORMULAS)
def test_methods_are_their_dense_formulas(name, parameters, formula, kind, dtype):
    updates = inputs(kind, dtype)
    matrices = [w * dense(update) for w, update in zip(WEIGHTS, updates, strict=True)]
    expected = formula(matrices, WEIGHTS, NOISE[dtype], **parameters)
    merged = Merge(name, parameters)(updates, WEIGHTS)
    limit = NEAR if kind == "nearly dependent" else LIMIT
    assert error(dense(merged.update), expected) < limit[dtype]
    assert merged.norm == pytest.approx(float(expected.norm()), rel=1e-5)
    largest = max(float(matrix.norm()) for matrix in matrices)
    assert merged.strength == pytest.approx(largest / float(expected.norm()), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.3, 1.2]])
def test_slerp_is_its_formula_and_the_karcher_mean_of_two(kind, weights):
    updates = inputs(kind)[:2]
    expected = slerp([w * dense(u) for w, u in zip(weights, updates, strict=True)], weights)
    for name in ("slerp", "karcher"):
        assert error(dense(Merge(name)(updates, weights).update), expected) < 1e-6


def test_slerp_refuses_a_third_input():
    with pytest.raises(SettingError, match="slerp takes two inputs, not 3; choose karcher"):
        Merge("slerp")(inputs("random"), WEIGHTS)


@pytest.mark.parametrize("name", ["slerp", "karcher"])
def test_between_opposites_of_equal_weight_there_is_no_direction(name):
    one = inputs("random")[0]
    assert dense(Merge(name)([one, one], [0.5, -0.5]).update).norm() == 0
    assert torch.isfinite(dense(Merge(name)([one, one], [1.0, -0.5]).update)).all()


def test_iso_takes_the_mean_of_live_values_where_the_paper_lifts_directions_nobody_trained():
    updates = inputs("random", F64)
    whole = sum(map(dense, updates))
    values = torch.linalg.svdvals(dense(Merge("iso")(updates, [1.0] * 3).update))
    of_the_paper = torch.linalg.svdvals(whole).mean()
    assert error(values[:12], torch.linalg.svdvals(whole)[:12].mean().expand(12)) < 1e-12
    assert values[12:].max() < 1e-12 < of_the_paper < 0.6 * values[0]


def test_tsv_jumps_where_directions_coincide():
    """Not unique there: of two equal inputs it is the input, of two almost equal ones it is not."""
    one = inputs("random", F64)[0]
    merged = Merge("tsv")([one, one], [1.0, 1.0]).update
    assert error(dense(merged), dense(one)) < 1e-12
    up, down = (1e-5 * randn(factor.shape) for factor in (one.up, one.down))
    near = LowRank.of(one.up + up, one.down + down, one.shape)
    assert error(dense(Merge("tsv")([one, near], [1.0, 1.0]).update), dense(one)) > 1e-2


def test_np_keeps_the_style_for_what_the_style_reads_and_orthogonal_both_ways():
    style, content, _ = inputs("random", F64)
    merged = dense(Merge("np", {"mu": inf})([style, content], [0.7, 1.0]).update)
    rows = style.down.T  # Inputs that the style answers to.
    assert error(merged @ rows, 0.7 * dense(style) @ rows) < 1e-12
    merged = dense(Merge("orthogonal")([style, content], [0.7, 1.0]).update)
    assert error(merged @ rows, 0.7 * dense(style) @ rows) < 1e-12
    assert error(style.up.T @ merged, 0.7 * style.up.T @ dense(style)) < 1e-12


@pytest.mark.slow
def test_fifty_inputs_of_more_ranks_than_rows():
    updates = [LowRank.of(randn((30, 16), i), randn((16, 26), i), (30, 26)) for i in range(50)]
    expected = iso([dense(update) for update in updates], None, 2e-7)
    assert error(dense(Merge("iso")(updates, [1.0] * 50).update), expected) < 1e-5
