"""Several updates of one weight in the coordinates of one small space.

Put the factors of n updates side by side, up = [up_1 ... up_n] and down = [down_1; ...; down_n].
With an orthonormal basis Q of the columns of up and P of the rows of down every update is

    dW_i = Q M_i P^T,   M_i a matrix of at most k x k, k the sum of the ranks,

and so are their sums and whatever is projected or decomposed: norms, angles and singular values
of the updates are those of the M_i (the idea of Core Space, Panariello et al. 2025). Neither Q nor
P is formed: Q = up C with a small C, and a result A B^T in coordinates is (up (C A)) (B^T C'^T
down).

The small matrices are float64. Where columns nearly depend on each other, C is large, and float64
products are what keeps the digits of float32 factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ..deferred import Tensor, torch
from ..errors import MismatchError
from . import lapack
from .cached import cached_property
from .gram import lengths, triangles
from .low_rank import LowRank

# The mean of 1 / s^2 over the singular values s of unit columns, up to which a Gram matrix of them
# keeps 7 digits of every direction from float32 products, and 8 from float64 ones.
NEARLY_ORTHOGONAL, INDEPENDENT = 2.0, 1e6
# The same for 5 digits, which are enough for figures that people read, at half of the time.
FOR_FIGURES = 64.0


@dataclass(frozen=True)
class Basis:
    """An orthonormal basis Q = factor @ combination of the columns of a tall factor [n, k].

    `coordinates` [r, k] and `combination` [k, r], float64 on the CPU: factor = Q @ coordinates.
    r < k where columns depend on others to the rounding of their dtype.
    """

    coordinates: Tensor
    combination: Tensor

    @classmethod
    def of(cls, tall: Tensor, nearly: float = NEARLY_ORTHOGONAL) -> Basis:
        for precise, limit in ((False, nearly), (True, INDEPENDENT)):
            (r,) = triangles((tall,), precise)
            units, scale = _units(r)
            if len(r) == r.shape[1]:
                # tall = Q R, and so Q = tall R^-1.
                inverse, info = torch.linalg.inv_ex(units)
                if info == 0 and inverse.square().sum() <= limit * len(r):
                    return cls(r, inverse / scale[:, None])
        # Of unit columns tall = Q S V^T; what is as short as the rounding of a column is none.
        units, scale = _units(*triangles((_wide(tall),)))
        _, values, vh = lapack.svd(units)
        live = _live(values, tall.dtype)
        values, vh = values[:live], vh[:live]
        return cls(values[:, None] * vh * scale, vh.T / values / scale[:, None])


def _units(r: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of length 1 and their lengths; a column of zeros stays, of length 1."""
    scale = lengths(r)
    scale = torch.where(scale > 0, scale, 1.0)
    return r / scale, scale


def rounding(dtype: torch.dtype) -> float:
    """The relative size of what may be rounding in numbers of this dtype."""
    return torch.finfo(dtype).eps * (16 if dtype == torch.float64 else 1)


def orthonormal(columns: Tensor, dtype: torch.dtype) -> Tensor:
    """An orthonormal basis [n, r] of the columns [n, k], without what rounding to `dtype` made."""
    u, values, _ = lapack.svd(columns)
    return u[:, : _live(values, dtype)]


def polar(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest matrix with orthonormal columns, P Q^T of matrix = P S Q^T.

    Where columns coincide there are many: then the one that leaves out the directions of singular
    value zero, a partial isometry.
    """
    u, values, vh = lapack.svd(matrix)
    live = _live(values, dtype)
    return u[:, :live] @ vh[:live]


def _live(values: Tensor, dtype: torch.dtype) -> int:
    """How many singular values of unit columns are more than the rounding of these columns."""
    return int((values > 4 * rounding(dtype) * values.max()).sum()) if values.numel() else 0


@dataclass(frozen=True)
class Directions:
    """The singular value decomposition of an M: `left` [r, m], `values` [m], `right` [r', m]."""

    left: Tensor
    values: Tensor
    right: Tensor

    @property
    def rank(self) -> int:
        return len(self.values)

    def leading(self, rank: int) -> Directions:
        """The first so many."""
        return Directions(self.left[:, :rank], self.values[:rank], self.right[:, :rank])


class CommonSpace:
    """n updates w_i dW_i of one weight as small matrices M_i of one size [r, r'].

    `left` [r, k] and `right` [r', k] hold them side by side: M_i = left_i right_i^T of the columns
    `parts[i]`. Float64 on the CPU. `noise[i]` is the size of what is rounding in w_i dW_i.
    Raises MismatchError for updates of different sizes.

    `factors` are the bare ones, without weights and scales: those would round every column on its
    own, which turns the small differences of nearly dependent ones into others.
    """

    def __init__(
        self,
        updates: Sequence[LowRank],
        weights: Sequence[float] | None = None,
        nearly: float = NEARLY_ORTHOGONAL,
    ) -> None:
        if len({update.matrix_shape for update in updates}) != 1:
            raise MismatchError("updates of different sizes", fix="blend LoRAs of one model")
        weights = [1.0] * len(updates) if weights is None else weights
        self.updates = [u.scaled(weight) for u, weight in zip(updates, weights, strict=True)]
        whole = LowRank.sum(self.updates)
        bare = (LowRank.of(term.up, term.down, whole.shape) for term in whole.terms)
        self.factors = LowRank.sum(bare).computed_in(whole.dtype)
        self.columns = Basis.of(self.factors.up, nearly)
        self.rows = Basis.of(self.factors.down.T, nearly)
        scales = [
            torch.full((term.up.shape[1],), term.scale, dtype=torch.float64) for term in whole.terms
        ]
        self.left = self.columns.coordinates * torch.cat(scales)
        self.right = self.rows.coordinates
        ends = accumulate((update.rank for update in updates), initial=0)
        self.parts = [slice(*pair) for pair in pairwise(ends)]
        sizes = lengths(self.left) * lengths(self.right)
        norms = [float(torch.linalg.vector_norm(sizes[part])) for part in self.parts]
        self.noise = [rounding(self.dtype) * norm for norm in norms]

    @property
    def dtype(self) -> torch.dtype:
        """That of the updates' factors."""
        return self.factors.dtype

    def matrix(self, index: int) -> Tensor:
        """M_i [r, r']."""
        part = self.parts[index]
        return self.left[:, part] @ self.right[:, part].T

    @property
    def sum(self) -> Tensor:
        """The sum of all M_i [r, r']."""
        return self.left @ self.right.T

    @cached_property
    def inner(self) -> Tensor:
        """<dW_i, dW_j> [n, n] = trace((left_i^T left_j) (right_j^T right_i))."""
        products = (self.left.T @ self.left) * (self.right.T @ self.right)
        sums = [products[part].sum(0) for part in self.parts]
        rows = torch.stack(sums)
        return torch.stack([rows[:, part].sum(1) for part in self.parts], dim=1)

    @property
    def norms(self) -> Tensor:
        """The Frobenius norms [n]."""
        return self.inner.diagonal().clamp_min(0).sqrt()

    @property
    def cosines(self) -> Tensor:
        """[n, n]; 0.0 beside a zero update."""
        sizes = torch.where(self.norms > 0, self.norms, 1.0)
        return (self.inner / sizes / sizes[:, None]).clamp(-1, 1)

    @cached_property
    def directions(self) -> list[Directions]:
        """The singular directions of each M_i above its noise, from its thin factors."""
        result = []
        for part, noise in zip(self.parts, self.noise, strict=True):
            q, r = torch.linalg.qr(self.left[:, part])
            p, s = torch.linalg.qr(self.right[:, part])
            inside = self.decomposed(r @ s.T, noise)
            result.append(Directions(q @ inside.left, inside.values, p @ inside.right))
        return result

    def decomposed(self, matrix: Tensor, noise: float | None = None) -> Directions:
        """The singular directions of a matrix of coordinates above `noise`, that of all inputs."""
        u, values, vh = lapack.svd(matrix)
        live = int((values > (sum(self.noise) if noise is None else noise)).sum())
        return Directions(u[:, :live], values[:live], vh[:live].T)

    def update(self, matrix: Tensor) -> LowRank:
        """Q matrix P^T of a matrix [r, r'], its columns and rows balanced, of its live rank."""
        found = self.decomposed(matrix)
        root = found.values.sqrt()
        return self.product(found.left * root, found.right * root)

    def product(self, left: Tensor, right: Tensor) -> LowRank:
        """(Q left) (P right)^T of left [r, m] and right [r', m], an update of m columns."""
        up, down = self.up(left).to(self.factors.up), self.down(right.T).to(self.factors.up)
        return LowRank.of(up, down, self.factors.shape)

    def up(self, left: Tensor) -> Tensor:
        """Q left [out, m] in float64, of left [r, m]."""
        wide = _wide(self.factors.up)
        return wide @ (self.columns.combination @ left).to(wide)

    def down(self, right: Tensor) -> Tensor:
        """right P^T [m, in] in float64, of right [m, r']."""
        wide = _wide(self.factors.down)
        return (right @ self.rows.combination.T).to(wide) @ wide


def _wide(factor: Tensor) -> Tensor:
    """In float64; on the CPU where the device has none."""
    return (factor.cpu() if factor.device.type == "mps" else factor).double()
