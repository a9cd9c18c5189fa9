"""Methods that know the updates as a whole: exact, in their common space, without a dense matrix.

Each is its paper's dense formula in coordinates: M_i stands for w_i dW_i. Where a paper takes all
min(out, in) singular directions, the live ones are taken, those above rounding: nobody trained
the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import acos, ceil, cos, inf, sin, sqrt

from ..algebra.common_space import CommonSpace, orthonormal, polar
from ..algebra.low_rank import LowRank
from ..algebra.update import Update, total
from ..deferred import Tensor, torch
from ..errors import SettingError
from .element_wise import DENSITY, combined, elect_switch, largest
from .method import Parameter, method
from .stacks import Stacks


@method("sum", needs="updates", paper="Ilharco et al. 2022, arXiv 2212.04089")
def weighted_sum(updates: list[Update]) -> Update:
    """The weighted sum."""
    return total(updates)


@method("slerp", needs="factors", paper="Shoemake 1985, doi 10.1145/325334.325242")
def slerp(space: CommonSpace, shares: Sequence[float]) -> LowRank:
    """Of two inputs: along the great circle between their directions, at the weighted mean norm."""
    if len(shares) != 2:
        raise SettingError(f"slerp takes two inputs, not {len(shares)}", fix="choose karcher")
    angle = acos(float(space.cosines[0, 1]))
    place = shares[1] / sum(shares)
    if sin(angle) < 1e-7:  # sin(t a) / sin(a) = t; opposite directions have no circle of their own.
        along = [1 - place, place]
    else:
        along = [sin((1 - place) * angle) / sin(angle), sin(place * angle) / sin(angle)]
    return _at_mean_norm(space, torch.tensor(along, dtype=torch.float64), shares)


@method("karcher", needs="factors", paper="Karcher 1977, doi 10.1002/cpa.3160300502")
def karcher(space: CommonSpace, shares: Sequence[float]) -> LowRank:
    """The weighted mean of the directions on their sphere, at the weighted mean norm.

    Every iterate is a combination of the inputs, and so their cosines are all that is needed.
    """
    cosines = space.cosines
    weights = torch.tensor(shares, dtype=torch.float64) / sum(shares)
    mean = weights / (_length(weights, cosines) or 1.0)
    for _ in range(1000):
        angles = (cosines @ mean).clamp(-1, 1).acos()
        # log_x(v) = (a / sin a) (v - cos(a) x), a the angle between x and v; of opposite ones none.
        stretched = torch.where(angles < 3.14, weights / torch.sinc(angles / torch.pi), 0.0)
        step = stretched - (stretched @ angles.cos()) * mean
        size = _length(step, cosines)
        if size == 0 or step.abs().max() < 1e-15:
            break
        mean = cos(size) * mean + sin(size) / size * step
    return _at_mean_norm(space, mean, shares)


def _length(weights: Tensor, cosines: Tensor) -> float:
    """The norm of a combination of the unit vectors with these cosines."""
    return sqrt(max(float(weights @ cosines @ weights), 0.0))


def _at_mean_norm(space: CommonSpace, along: Tensor, shares: Sequence[float]) -> LowRank:
    """The combination of the directions, as long as all inputs together: sum of |w_i dW_i|."""
    size = _length(along, space.cosines)
    # As opposite inputs of equal weight: no direction lies between them.
    scale = float(space.norms.sum()) / size if size > 1e-7 else 0.0
    weights = (along * scale / space.norms).tolist()
    pairs = zip(space.updates, weights, strict=True)
    return LowRank.sum(update.scaled(weight) for update, weight in pairs)


@method("svd-average", needs="factors", paper="Gower 1975, doi 10.1007/BF02291478")
def svd_average(space: CommonSpace, shares: Sequence[float]) -> LowRank:
    """The mean of the singular bases, each rotated onto those of the sum (Procrustes).

    A basis with its values is Z = [U S^1/2; V S^1/2], the same update for every rotation of its
    columns. What only one input has counts with the square of its share.
    """
    target = space.decomposed(space.sum)
    root = target.values.sqrt()
    left, right = torch.zeros_like(target.left), torch.zeros_like(target.right)
    for own, share in zip(space.directions, shares, strict=True):
        roots = own.values.sqrt()
        own_left, own_right = own.left * roots, own.right * roots
        likeness = own_left.T @ target.left + own_right.T @ target.right
        rotation = polar(likeness * root, space.dtype)
        left += sqrt(share / sum(shares)) * own_left @ rotation
        right += sqrt(share / sum(shares)) * own_right @ rotation
    return space.product(left, right)


@method(
    "tsv",
    needs="factors",
    paper="Gargiulo et al. 2024, arXiv 2412.00081",
    keep=Parameter(1.0, 0.0, 1.0, "the share of each input's directions that is kept"),
)
def tsv(space: CommonSpace, shares: Sequence[float], keep: float) -> LowRank:
    """Task Singular Vectors: the leading directions of all inputs, made orthogonal to each other.

    At most min(out, in) / n of each, as in the paper. Directions that coincide exactly are counted
    once; as they come close to that, the result is not continuous (there, it is not unique).
    """
    most = max(1, min(space.factors.matrix_shape) // len(shares))
    kept = [own.leading(min(ceil(keep * own.rank), most)) for own in space.directions]
    values = torch.cat([own.values for own in kept])
    left = polar(torch.cat([own.left for own in kept], dim=1), space.dtype)
    right = polar(torch.cat([own.right for own in kept], dim=1), space.dtype)
    return space.product(left * values, right)


@method(
    "iso",
    needs="factors",
    paper="Marczak et al. 2025, arXiv 2502.04959",
    common=Parameter(1.0, 0.0, 1.0, "the share of common directions: 1 is Iso-C, below Iso-CTS"),
)
def iso(space: CommonSpace, shares: Sequence[float], common: float) -> LowRank:
    """Isotropic: the sum's singular values all become their mean, over the live ones.

    Below 1 the rest of the directions are each input's own, of what lies outside the common ones.
    """
    whole = space.decomposed(space.sum)
    each = round((whole.rank - int(common * whole.rank)) / len(shares))
    first = whole.leading(max(0, whole.rank - each * len(shares)))
    if not each:
        left, right, values = first.left, first.right, first.values
    else:
        outside = (space.matrix(i) for i in range(len(shares)))
        rests = [matrix - first.left @ (first.left.T @ matrix) for matrix in outside]
        parts = [first, *(space.decomposed(rest).leading(each) for rest in rests)]
        left = polar(torch.cat([part.left for part in parts], dim=1), space.dtype)
        right = polar(torch.cat([part.right for part in parts], dim=1), space.dtype)
        values = torch.cat([part.values for part in parts])
    level = sqrt(float(values.mean())) if len(values) else 0.0
    return space.product(left * level, right * level)


@method(
    "knots",
    needs="factors",
    paper="Stoica et al. 2024, arXiv 2410.19735",
    density=DENSITY,
    elect=elect_switch(True),
)
def knots(space: CommonSpace, shares: Sequence[float], density: float, elect: bool) -> LowRank:
    """KnOTS: all inputs side by side are U S [V_1 ... V_n]^T; TIES or the trimmed sum of the V_i.

    Each V_i^T [k, in] has its own density. It is of low rank, and never exists as a whole.
    """
    joint = space.decomposed(torch.cat([own.left * own.values for own in space.directions], dim=1))
    aligned = []
    for own in space.directions:
        mixing = (joint.left / joint.values).T @ (own.left * own.values)
        down = space.down(own.right.T)
        aligned.append(LowRank.of(mixing.to(down), down, (joint.rank, down.shape[1])))
    stacks = Stacks(aligned)
    visit = largest(stacks, density)
    down = torch.cat([combined(stacks, stack, elect).clone() for stack in visit()])
    up = space.up(joint.left * joint.values)
    return LowRank.of(up.to(space.factors.up), down.to(space.factors.up), space.factors.shape)


@method(
    "np",
    needs="factors",
    paper="NP-LoRA, arXiv 2511.11051",
    ordered=True,
    mu=Parameter(1.0, 0.0, inf, "0 is the sum, inf the hard projection"),
)
def null_space(space: CommonSpace, shares: Sequence[float], mu: float) -> LowRank:
    """NP-LoRA: the first input (the style) as it is, what follows out of its right singular space.

    dW_1 + dW_2 (I - mu / (1 + mu) V V^T); a third one avoids the space of both, and so on.
    """
    return _avoiding(space, 0.0, 1 - 1 / (1 + mu))


@method(
    "orthogonal",
    needs="factors",
    paper="the projections of NP-LoRA, arXiv 2511.11051, on both sides",
    ordered=True,
    dial=Parameter(1.0, 0.0, 1.0, "0 is the sum, 1 leaves nothing in the spaces of earlier inputs"),
)
def orthogonal(space: CommonSpace, shares: Sequence[float], dial: float) -> LowRank:
    """The first input as it is, later ones without what lies in earlier column and row spaces."""
    return _avoiding(space, dial, dial)


def _avoiding(space: CommonSpace, of_columns: float, of_rows: float) -> LowRank:
    """Each update with these shares of its parts in the spaces of all earlier ones taken off."""
    result = torch.zeros_like(space.sum)
    for index, own in enumerate(space.directions):
        left, right = own.left * own.values, own.right
        if index:
            earlier = space.directions[:index]
            columns = orthonormal(torch.cat([e.left for e in earlier], dim=1), space.dtype)
            rows = orthonormal(torch.cat([e.right for e in earlier], dim=1), space.dtype)
            left = left - of_columns * columns @ (columns.T @ left)
            right = right - of_rows * rows @ (rows.T @ right)
        result += left @ right.T
    return space.update(result)
