"""The algebra of updates that are kept as thin factors.

An update dW [out, in] of rank k is stored as `up` [out, k] and `down` [k, in] with dW = up @ down.
dW itself appears only in row tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import hypot, inf, isfinite, sqrt
from typing import NamedTuple

from ..deferred import Tensor, torch
from ..errors import LoraError
from .cached import cached_property
from .decomposition import Core, Svd
from .gram import gram_matrix, length, lengths, squares_of_product
from .precision import FEW, LEAST, eps, ordinary, wide_enough

TILE_ELEMENTS = 1 << 20  # 4 MB in float32: a tile stays in cache.


class Term(NamedTuple):
    """scale * up @ down, the factors [out, r] and [r, in * kernel] of any dtype, as stored."""

    up: Tensor
    down: Tensor
    scale: float


@dataclass(frozen=True, eq=False)
class LowRank:
    """dW = up @ down of a weight of `shape` (out, in, *kernel).

    `up` is [out, k] and `down` [k, in * kernel], both in `dtype` (float32 or float64) on one
    device. k = 0 is the zero update.

    A sum is its `terms` side by side. They stay as they are stored until a factor is asked for:
    sums and scales cost nothing, and each number is converted once, on its way to its place.
    `known` is the decomposition, where somebody has computed it already. `roots` are the roots of
    the singular values where `up` is U sqrt(S) and `down` sqrt(S) V^T: nothing cancels in there.

    >>> import torch
    >>> update = core.LowRank.of(torch.ones(4, 1), torch.ones(1, 9), (4, 9))
    >>> update.rank, round(update.spectral_norm(), 6)
    (1, 6.0)
    """

    terms: tuple[Term, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    known: Svd | None = None
    roots: Tensor | None = None

    @classmethod
    def of(cls, up: Tensor, down: Tensor, shape: tuple[int, ...], scale: float = 1.0) -> LowRank:
        """scale * up @ down, computed in the dtype of `up`."""
        return cls((Term(up, down, scale),), shape, wide_enough(up.dtype, scale))

    @classmethod
    def of_matrix(cls, matrix: Tensor, shape: tuple[int, ...]) -> LowRank:
        """A matrix [out, in * kernel] as a product with an identity on its smaller side. Exact."""
        out, inner = matrix.shape
        identity = torch.eye(min(out, inner), dtype=matrix.dtype, device=matrix.device)
        factors = (matrix, identity) if inner <= out else (identity, matrix)
        return cls.of(*factors, shape)

    @staticmethod
    def sum(updates: Iterable[LowRank]) -> LowRank:
        """The exact sum: [up1 | up2 | ...] @ [down1; down2; ...], of rank k1 + k2 + ..."""
        updates = list(updates)
        if len(updates) == 1:
            return updates[0]
        shape = max((update.shape for update in updates), key=len)
        terms = tuple(term for update in updates for term in update.terms)
        dtypes = {update.dtype for update in updates}
        return LowRank(terms, shape, dtypes.pop() if len(dtypes) == 1 else torch.float64)

    def computed_in(self, dtype: torch.dtype) -> LowRank:
        """The same update with its factors in another dtype, float32 or float64."""
        return LowRank(self.terms, self.shape, wide_enough(dtype, *(t.scale for t in self.terms)))

    @property
    def rank(self) -> int:
        """The number of columns of `up`: an upper bound of the rank of dW."""
        return sum(term.up.shape[1] for term in self.terms)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(out, in * kernel)."""
        return self.terms[0].up.shape[0], self.terms[0].down.shape[1]

    @cached_property
    def up(self) -> Tensor:
        return self._factor("up", 1)

    @cached_property
    def down(self) -> Tensor:
        return self._factor("down", 0)

    def _factor(self, name: str, dim: int) -> Tensor:
        """The terms' factors one after the other along `dim`; the smaller ones take the scales."""
        out, inner = self.matrix_shape
        scaled = name == ("up" if out < inner else "down")
        parts: list[Tensor] = [getattr(term, name) for term in self.terms]
        scales = [term.scale if scaled else 1.0 for term in self.terms]
        if len(parts) == 1 and scales[0] == 1.0:
            return parts[0].to(self.dtype)
        size = (out, self.rank) if name == "up" else (self.rank, inner)
        whole = parts[0].new_empty(size, dtype=self.dtype)
        places = torch.split_with_sizes(whole, [part.shape[dim] for part in parts], dim)
        for part, scale, place in zip(parts, scales, places, strict=True):
            place.copy_(part)
            if scale != 1.0:
                place.mul_(scale)
        return whole

    def scaled(self, weight: float) -> LowRank:
        """weight * dW."""
        if weight == 1.0:
            return self
        terms = tuple(term._replace(scale=term.scale * weight) for term in self.terms)
        return LowRank(terms, self.shape, wide_enough(self.dtype, *(t.scale for t in terms)))

    def balanced(self) -> LowRank:
        """The same update with each column of `up` about as long as its row of `down`."""
        up, down = lengths(self.up), lengths(self.down.T)
        half = torch.where((up > 0) & (down > 0), (down.log2() - up.log2()) / 2, 0.0).round()
        # Powers of two: they round nothing.
        limit = 1000 if self.dtype == torch.float64 else 120
        ratio = half.clamp(-limit, limit).exp2().to(self.up)
        return LowRank.of(self.up * ratio, self.down / ratio[:, None], self.shape)

    def rows(self, start: int, stop: int) -> LowRank:
        """Rows [start, stop) of dW: rows of `up`, the same `down`."""
        return self._of_rows(lambda up: up[start:stop])

    def padded(self, before: int, after: int) -> LowRank:
        """dW with rows of zeros put before and after: a part of a fused weight as the whole."""
        return self._of_rows(lambda up: torch.nn.functional.pad(up, (0, 0, before, after)))

    def rolled(self) -> LowRank:
        """dW with the two halves of its rows in the other order."""
        return self._of_rows(lambda up: up.roll(up.shape[0] // 2, 0))

    def _of_rows(self, change: Callable[[Tensor], Tensor]) -> LowRank:
        terms = tuple(term._replace(up=change(term.up)) for term in self.terms)
        return LowRank(terms, (terms[0].up.shape[0], *self.shape[1:]), self.dtype)

    def reshaped(self, shape: tuple[int, ...]) -> LowRank:
        """The same update of a weight of another shape with the same rows."""
        return replace(self, shape=shape)

    def zero(self) -> LowRank:
        """The zero update of the same weight, of rank 1: a file has at least that."""
        nothing = LowRank.of(self.up[:, :1] * 0, self.down[:1] * 0, self.shape)
        return replace(nothing, roots=torch.zeros(1))

    def dense(self) -> Tensor:
        """dW as one [out, in * kernel] tensor. For small weights and tests."""
        return self.up @ self.down

    def tiles(self, elements: int = TILE_ELEMENTS) -> Iterator[Tensor]:
        """dW in blocks of whole rows with about `elements` entries each, top to bottom.

        All in the same memory: each is valid until the next one.
        """
        rows, columns = len(self.up), self.down.shape[1]
        height = min(rows, max(1, elements // max(1, columns)))
        memory = self.up.new_empty(height, columns)
        for start in range(0, rows, height or 1):
            block = self.up[start : start + height]
            yield torch.mm(block, self.down, out=memory[: len(block)])

    def inner(self, other: LowRank) -> float:
        """<dW, dW'> = trace((up^T up') (down' down^T)), accumulated in float64."""
        if other is self:
            return float((gram_matrix(self.up) * gram_matrix(self.down.T)).sum())
        up = self.up.double().T @ other.up.double()
        down = self.down.double() @ other.down.double().T
        return float((up * down).sum())

    def frobenius_norm(self) -> float:
        """sqrt(<dW, dW>), from the Gram matrices, without a decomposition."""
        if self._squares:
            return sqrt(self._squares[0])
        square = self.inner(self)
        if LEAST < square < inf or not self.magnitude():
            return sqrt(max(square, 0.0))
        return length(self._core(precise=True).matrix)

    def magnitude(self) -> float:
        """The norm of dW if its rank-one terms were orthogonal; far above its norm, they cancel."""
        if self._squares:
            return sqrt(self._squares[1])
        return length(lengths(self.up) * lengths(self.down.T))

    @cached_property
    def _squares(self) -> tuple[float, float] | None:
        return squares_of_product(self.up, self.down)

    def spectral_norm(self) -> float:
        """The largest singular value."""
        return max(self.singular_values.tolist(), default=0.0)

    @property
    def thin(self) -> LowRank:
        """The same update with no more columns than dW can have rank."""
        return self if self.rank <= min(self.matrix_shape) else self._multiplied_out

    @cached_property
    def _multiplied_out(self) -> LowRank:
        exact = self if ordinary(torch.tensor(self.magnitude())) else self.precise()
        return LowRank.of_matrix(exact.dense(), self.shape)

    @cached_property
    def core(self) -> Core:
        """The small matrices that its decomposition is made from."""
        return self._core(precise=False)

    def _core(self, precise: bool) -> Core:
        size = None if self.thin is self else self.magnitude()
        core = Core.of(self.thin.up, self.thin.down, size, precise)
        if isfinite(core.noise):
            return core
        if self.dtype != torch.float64:
            return self.precise()._core(precise)
        raise LoraError("its numbers are too large to compute with", fix="choose smaller weights")

    def norms(self, ranks: Sequence[int]) -> list[float]:
        """The norms of the parts of a sum that have so many columns each, without their products.

        From the core where it is known already.
        """
        ends = list(accumulate(ranks, initial=0))
        parts = [slice(*pair) for pair in pairwise(ends)]
        if "core" in vars(self) and self.thin is self:
            core = self.core
            return [length(core.r_up[:, part] @ core.r_down[:, part].T) for part in parts]
        pieces = (LowRank.of(self.up[:, part], self.down[part], self.shape) for part in parts)
        return [piece.frobenius_norm() for piece in pieces]

    @cached_property
    def singular_values(self) -> Tensor:
        """Float64, on the CPU, descending, without those that are rounding noise."""
        return self.known.values if self.known else self.core.values

    def precise_singular_values(self) -> Tensor:
        """The same without float32 Gram matrices: for values that are figures by themselves."""
        return self._core(precise=True).values

    @cached_property
    def svd(self) -> Svd:
        """The exact singular value decomposition; computed once. See the module's text."""
        return self.known or self.core.svd

    def truncated(self, rank: int) -> LowRank:
        """The best update of at most this rank (Eckart and Young 1936), S split evenly."""
        thin, svd = self.thin, self.svd
        root = svd.values[:rank].rsqrt()
        left, right = svd.left[:, :rank] * root, root[:, None] * svd.right[:rank]
        if not (ordinary(left) and ordinary(right)):
            thin = thin.precise()
        up, down = thin.up @ left.to(thin.up), right.to(thin.down) @ thin.down
        return replace(LowRank.of(up, down, self.shape), roots=1 / root)

    def steady(self, precision: float) -> LowRank:
        """The same update in factors that survive rounding to this relative precision.

        Rounding moves each rank-one term by `precision` of its own size. Where terms cancel they
        are larger than their sum, and the decomposition takes their place: its terms are not.
        """
        if self.roots is not None:  # Its terms are orthogonal: nothing cancels.
            return self
        norm, size = self.frobenius_norm(), self.magnitude()
        if size <= FEW * norm:
            return self
        update = self.precise() if eps(self.dtype) * size > FEW * precision * norm else self
        values = update.svd.values
        return update.truncated(len(values)) if len(values) else self.zero()

    def precise(self) -> LowRank:
        """The same update computed in float64, on a device that has it."""
        if self.up.device.type != "mps":
            return self.computed_in(torch.float64)
        terms = tuple(term._replace(up=term.up.cpu(), down=term.down.cpu()) for term in self.terms)
        return LowRank(terms, self.shape, torch.float64)

    def rounding(self, up: Tensor, down: Tensor) -> float:
        """||up @ down - dW||, given that both are this update's factors, rounded.

        up @ down - dW = (up - U) down + U (down - D): small terms, so that no digit is lost.
        """
        up, down = up.to(self.up), down.to(self.down)
        up_moved, down_moved = up - self.up, down - self.down
        if self.roots is not None:
            # Orthogonal terms do not mix. Each moves by what its column and its row move, times the
            # length of the other one, which is the root.
            roots = self.roots.to(self.up)
            return hypot(length(up_moved.mul_(roots)), length(down_moved.mul_(roots[:, None])))
        moved = [Term(up_moved, down, 1.0)] if up_moved.any() else []
        moved += [Term(self.up, down_moved, 1.0)] if down_moved.any() else []
        return LowRank(tuple(moved), self.shape, self.dtype).frobenius_norm() if moved else 0.0
