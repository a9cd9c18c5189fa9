"""Merge: one update of any number of updates of one weight, by any method, at any rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot, isfinite

from ..algebra.common_space import CommonSpace
from ..algebra.low_rank import LowRank
from ..algebra.precision import eps
from ..algebra.range_finder import leading
from ..algebra.rank_rules import retained
from ..algebra.update import Dense, Update
from ..deferred import torch
from ..errors import SettingError
from . import element_wise, in_space  # noqa: F401 - they register their methods
from .method import Method, method_named
from .stacks import Stacks


@dataclass(frozen=True)
class Merged:
    """What a merge made of a weight.

    `norm` is that of the method's result (Frobenius), `error` what the rank has cost, relative to
    it, and `strength` the automatic strength, by which nothing is scaled yet.
    """

    update: Update
    norm: float
    error: float
    strength: float


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
        if len(updates) != len(weights) or not updates:
            raise SettingError(
                f"{len(weights)} weights for {len(updates)} updates", fix="give one for each"
            )
        if not all(map(isfinite, weights)):
            raise SettingError(f"weights {list(weights)} must be finite", fix="1 is neutral")
        pairs = zip(updates, weights, strict=True)
        sizes = [abs(weight) * update.frobenius_norm() for update, weight in pairs]
        live = [index for index, size in enumerate(sizes) if size != 0] or [0]
        method = method_named(self.method if len(live) > 1 else "sum")
        inputs = [updates[i] for i in live]
        result, norm, error = self._run(method, inputs, [weights[i] for i in live], rank)
        return Merged(result, norm, error, automatic_strength(sizes, norm))

    def _run(
        self, method: Method, updates: list[Update], weights: list[float], rank: int | None
    ) -> tuple[Update, float, float]:
        parameters = method.checked(self.parameters) if method.name == self.method else {}
        shape = max((update.shape for update in updates), key=len)
        full = all(isinstance(update, Dense) for update in updates)
        scaled = [update.scaled(weight) for update, weight in zip(updates, weights, strict=True)]
        if method.needs == "tiles":
            stacks = Stacks(scaled, self.seed)
            tiles = method.function(stacks, **parameters)
            if rank is None or full:
                values = torch.cat(list(tiles()))
                return _uncut(Dense(values.reshape(shape)))
            size = (stacks.out, *shape[1:])
            found = leading(tiles, size, rank, self.seed, next(iter(stacks))[0])
            return found.update, found.norm, found.error / (found.norm or 1.0)
        if method.needs == "updates":
            result: Update = method.function(scaled, **parameters)
        else:
            factors = [u if isinstance(u, LowRank) else u.low_rank() for u in updates]
            shares = [abs(weight) for weight in weights]
            result = method.function(CommonSpace(factors, weights), shares, **parameters)
        if full and isinstance(result, LowRank):
            return _uncut(Dense(result.dense().reshape(shape)))
        if isinstance(result, Dense):
            if full or rank is None:
                return _uncut(result)
            result = result.low_rank()
        return cut(result, rank)


def automatic_strength(sizes: Sequence[float], norm: float) -> float:
    """max |w_i dW_i| / |merge|: scaled by it, the merge is as large as its largest input.

    From Frobenius norms of one weight, or of a file: roots of sums of squares. 1.0 where a norm is
    zero.
    """
    return max(sizes) / norm if norm > 0 else 1.0


def cut(update: LowRank, rank: int | None) -> tuple[LowRank, float, float]:
    """The best update of this rank, the whole one's norm, and the error relative to that."""
    if update.rank <= min(rank or update.rank, *update.matrix_shape):
        steady = update.steady(eps(update.dtype))
        if (norm := steady.frobenius_norm()) > 0:
            return steady.balanced() if steady.roots is None else steady, norm, 0.0
    values = update.svd.values.tolist()
    norm, kept = hypot(*values), min(rank or len(values), len(values))
    return update.truncated(kept), norm, retained(values, kept, norm)[1]


def _uncut(update: Dense) -> tuple[Dense, float, float]:
    return update, update.frobenius_norm(), 0.0
