"""Do these updates fight? What two updates of one weight have in common, from their common space.

Pure functions of small matrices: no files and no words. Figures of several weights (a block, a
file) come from sums of inner products: `Overlap` is additive, its ratios are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from ..algebra import lapack
from ..algebra.common_space import CommonSpace, Directions, rounding
from ..deferred import Tensor, torch

LEADING = 4


@dataclass(frozen=True)
class Overlap:
    """Inner products of two updates A and B, and parts of their squared norms; of many, their sum.

    `first_in_columns` is |P A|^2, P the projection onto the column space of B: what A writes where
    B writes; `first_in_rows` is |A P|^2 of the row space: what A does to inputs that B reads.
    """

    first: float = 0.0
    second: float = 0.0
    inner: float = 0.0
    first_in_columns: float = 0.0
    first_in_rows: float = 0.0
    second_in_columns: float = 0.0
    second_in_rows: float = 0.0

    def __add__(self, other: Overlap) -> Overlap:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Overlap(*(mine + its for mine, its in pairs))

    @property
    def cosine(self) -> float:
        """Of the angle between the updates; 0.0 beside a zero one."""
        return _share(self.inner, sqrt(self.first * self.second))

    @property
    def norm_ratio(self) -> float:
        """|B| / |A|; 0.0 where A is zero."""
        return sqrt(_share(self.second, self.first))

    @property
    def interference(self) -> float:
        """|A + B|^2 / (|A|^2 + |B|^2): 1 where they do not touch, 2 where they are the same, 0
        where they cancel. 1.0 where both are zero."""
        return 1.0 + _share(2 * self.inner, self.first + self.second)

    @property
    def shares(self) -> dict[str, float]:
        """Each one's energy inside the other's spaces, as shares of 1."""
        return {
            name: _share(getattr(self, name), getattr(self, name.split("_")[0]))
            for name in vars(self)
            if "_in_" in name
        }


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def overlap(space: CommonSpace, first: int, second: int) -> Overlap:
    """The overlap of two of the updates."""
    inner = space.inner
    a, b = space.directions[first], space.directions[second]
    return Overlap(
        float(inner[first, first]),
        float(inner[second, second]),
        float(inner[first, second]),
        _energy(b.left.T @ (a.left * a.values)),
        _energy(b.right.T @ (a.right * a.values)),
        _energy(a.left.T @ (b.left * b.values)),
        _energy(a.right.T @ (b.right * b.values)),
    )


def _energy(matrix: Tensor) -> float:
    return float(matrix.square().sum())


def principal_angles(
    first: Directions, second: Directions, leading: int = LEADING
) -> tuple[list[float], list[float]]:
    """The angles between the spaces of both leading directions, in degrees, smallest first.

    Of what they write (columns) and of what they read (rows): the arcs of the singular values of
    Q^T Q' (Bjoerck and Golub 1973), for small angles of their sines, which have the digits there.
    """
    a, b = first.leading(leading), second.leading(leading)
    return _angles(a.left, b.left), _angles(a.right, b.right)


def _angles(one: Tensor, other: Tensor) -> list[float]:
    if one.shape[1] > other.shape[1]:
        one, other = other, one
    cosines = lapack.svdvals(other.T @ one)
    sines = lapack.svdvals(one - other @ (other.T @ one)).flip(0)[: len(cosines)]
    angles = torch.where(cosines**2 > 0.5, sines.clamp(0, 1).asin(), cosines.clamp(0, 1).acos())
    return torch.rad2deg(angles).tolist()


def suggested_weights(
    inner: Tensor, levels: list[float], dtype: torch.dtype | None = None
) -> list[float]:
    """Weights under which each input keeps its own effect at the asked level.

    The effect of input i in a sum S = sum_j w_j dW_j is its part of S, <S, dW_i> / |dW_i|^2. With
    the Gram matrix `inner` [n, n] of all inner products (of a weight, or summed over many):

        G w = diag(G) level,

    by least squares in units of each norm; the smallest weights where inputs of `dtype` depend on
    each other: of two equal ones each gets half. It is bfloat16 by default: files that differ by
    such a rounding only are one direction, not two. A zero input gets its level.
    """
    norms = inner.diagonal().clamp_min(0).sqrt()
    live = norms > 0
    sizes = norms[live]
    values, vectors = lapack.eigh(inner[live][:, live] / sizes / sizes[:, None])
    kept = values > rounding(dtype or torch.bfloat16) * len(sizes)
    vectors = vectors[:, kept]
    asked = torch.tensor(levels, dtype=inner.dtype)
    result = asked.clone()
    result[live] = vectors @ ((vectors.T @ (asked[live] * sizes)) / values[kept]) / sizes
    weights: list[float] = result.tolist()
    return weights
