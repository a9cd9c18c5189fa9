"""Merge: one update of any number of updates of one weight, by any method, at any rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot, isfinite

from ..algebra import lapack
from ..algebra.common_space import CommonSpace
from ..algebra.gram import gram_matrix, triangles
from ..algebra.low_rank import LowRank
from ..algebra.precision import eps
from ..algebra.range_finder import Tiles, leading
from ..algebra.rank_rules import retained
from ..algebra.update import Dense, Update
from ..deferred import Tensor, torch
from ..errors import SettingError
from . import element_wise, in_space  # noqa: F401 - they register their methods
from .method import METHODS as METHODS  # with all methods in it
from .method import method_named
from .stacks import Stacks, matrix_shape


@dataclass(frozen=True)
class Merged:
    """What a merge made of a weight.

    `norm` is that of the method's result (Frobenius), `error` what the rank has cost, relative to
    it, and `sizes` are the norms of all w_i dW_i.
    """

    update: Update
    norm: float
    error: float
    sizes: list[float]

    @property
    def strength(self) -> float:
        """The automatic strength, by which nothing is scaled yet."""
        return automatic_strength(self.sizes, self.norm)


@dataclass(frozen=True)
class Merge:
    """A method with its parameters; those that are not given are at their defaults.

    `seed` is for methods that draw; two weights of one size draw the same under the same seed.
    Raises SettingError for a method or parameter that does not exist or is out of range.
    """

    method: str = "sum"
    parameters: Mapping[str, float | bool] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        method_named(self.method).checked(self.parameters)

    def __call__(
        self, updates: Sequence[Update], weights: Sequence[float], rank: int | None = None
    ) -> Merged:
        """The merge of w_i dW_i, of at most this rank; None keeps everything.

        A result of an element-wise method has no low rank: without one it is Dense, and so is what
        full differences alone become. An update that is zero or has weight zero takes no part, and
        one alone is its own merge under any method.
        Raises SettingError where weights and updates differ in number or are not finite.
        """
        sizes, inputs, counting = self._counting(updates, weights)
        shape = max((update.shape for update in inputs), key=len)
        full = all(isinstance(update, Dense) for update in inputs)
        made = self._made(inputs, counting)
        if not isinstance(made, Update):
            if rank is not None and not full:
                out, _ = matrix_shape(inputs[0])
                start, like = directions_read(inputs, counting), next(iter(made()))
                found = leading(made, (out, *shape[1:]), rank, self.seed, like, start)
                return Merged(found.update, found.norm, found.error / (found.norm or 1.0), sizes)
            made = Dense(torch.cat([tile.clone() for tile in made()]))
        if full or (rank is None and isinstance(made, Dense)):
            values = made.values if isinstance(made, Dense) else made.dense()
            whole = Dense(values.reshape(shape))
            return Merged(whole, whole.frobenius_norm(), 0.0, sizes)
        return Merged(*cut(made.low_rank() if isinstance(made, Dense) else made, rank), sizes)

    def norms(
        self, updates: Sequence[Update], weights: Sequence[float]
    ) -> tuple[list[float], float]:
        """The norms of all w_i dW_i and of their merge, of which nothing is cut."""
        sizes, inputs, counting = self._counting(updates, weights)
        made = self._made(inputs, counting)
        if isinstance(made, Update):
            return sizes, made.frobenius_norm()
        return sizes, hypot(*(Dense(tile).frobenius_norm() for tile in made()))

    def _counting(
        self, updates: Sequence[Update], weights: Sequence[float]
    ) -> tuple[list[float], list[Update], list[float]]:
        """The norms of all w_i dW_i, and what counts: the updates that are not zero, or the first,
        with their weights."""
        if len(updates) != len(weights) or not updates:
            raise SettingError(
                f"{len(weights)} weights for {len(updates)} updates", fix="give one for each"
            )
        if not all(map(isfinite, weights)):
            raise SettingError(f"weights {list(weights)} must be finite", fix="1 is neutral")
        pairs = list(zip(updates, weights, strict=True))
        sizes = [abs(weight) * update.frobenius_norm() for update, weight in pairs]
        live = [pair for pair, size in zip(pairs, sizes, strict=True) if size != 0] or pairs[:1]
        return sizes, [update for update, _ in live], [weight for _, weight in live]

    def _made(self, updates: list[Update], weights: list[float]) -> Update | Tiles:
        """What the method makes of w_i dW_i: an update, or a function that visits its tiles."""
        method = method_named(self.method if len(updates) > 1 else "sum")
        parameters = method.checked(self.parameters) if method.name == self.method else {}
        scaled = [update.scaled(weight) for update, weight in zip(updates, weights, strict=True)]
        if method.needs == "tiles":
            tiles: Tiles = method.function(Stacks(scaled, self.seed), **parameters)
            return tiles
        result: Update
        if method.needs == "updates":
            result = method.function(scaled, **parameters)
        else:
            factors = [u if isinstance(u, LowRank) else u.low_rank() for u in updates]
            shares = [abs(weight) for weight in weights]
            result = method.function(CommonSpace(factors, weights), shares, **parameters)
        return result


def directions_read(updates: Sequence[Update], weights: Sequence[float]) -> Tensor | None:
    """What thin updates read together [in, k], the strongest directions first; None of others.

    With dW_i = Q_i R_i D_i it is what the rows of all w_i R_i D_i span.
    """
    read = []
    for update, weight in zip(updates, weights, strict=True):
        if not isinstance(update, LowRank):
            return None
        (r,) = triangles((update.up,))
        read.append((weight * r).to(update.down) @ update.down)
    rows = torch.cat(read)
    _, vectors = lapack.eigh(gram_matrix(rows.T).cpu())
    return rows.T @ vectors.flip(1).to(rows)


def automatic_strength(sizes: Sequence[float], norm: float) -> float:
    """max |w_i dW_i| / |merge|: scaled by it, the merge is as large as its largest input.

    From Frobenius norms of one weight, or of a file: roots of sums of squares. 1.0 where a norm is
    zero.
    """
    return max(sizes, default=0.0) / norm if norm > 0 else 1.0


def cut(update: LowRank, rank: int | None) -> tuple[LowRank, float, float]:
    """The best update of this rank, the whole one's norm, and the error relative to that."""
    if update.rank <= min(rank or update.rank, *update.matrix_shape):
        steady = update.steady(eps(update.dtype))
        if (norm := steady.frobenius_norm()) > 0:
            return steady.balanced() if steady.roots is None else steady, norm, 0.0
    values = update.svd.values.tolist()
    norm, kept = hypot(*values), min(rank or len(values), len(values))
    return update.truncated(kept), norm, retained(values, kept, norm)[1]
