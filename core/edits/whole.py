"""Cutting an update that is a whole matrix: a difference of two models, a baked module.

Its leading part is found without the rest of its spectrum, and what is lost is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod
from typing import NamedTuple

from ..algebra.low_rank import LowRank
from ..algebra.range_finder import OVERSAMPLING
from ..algebra.rank_rules import RankRule
from ..algebra.sketch import Sketch, exactly, sketched
from ..algebra.update import Dense
from ..deferred import torch
from ..errors import FileError

# What a rule that asks for no number begins with.
FIRST = 24
RANDOMISED, EXACT = "randomised", "exact"
WHOLE_METHODS = (RANDOMISED, EXACT)


class Cut(NamedTuple):
    """An update at the rank that was asked for, and what was kept of the exact one.

    `norm` is the Frobenius norm of the exact update, `energy` the share of its square that was
    kept, `error` what is lost relative to `norm`, before anything is rounded; `largest` the largest
    singular value, where it is known.
    """

    update: LowRank
    norm: float
    energy: float = 1.0
    error: float = 0.0
    largest: float = inf


@dataclass(frozen=True)
class WholeCut:
    """How whole matrices are cut: by a `rule`, from an `exact` decomposition or a growing sketch.

    What lies below `noise`, the largest singular value that the rounding of the inputs makes, is
    kept only where a rank was asked for: to the other rules it is no part of the update.
    """

    rule: RankRule
    exact: bool = False
    seed: int = 0

    def __call__(
        self, update: Dense, limit: int | None = None, noise: float = 0.0
    ) -> tuple[Cut, Sketch]:
        """The update at the rank of the rule, or at `limit`; and what is known of its spectrum.

        A rank of 0 comes back for the zero update only.
        """

        def rank_in(sketch: Sketch) -> int:
            if limit is not None:
                return self.rule.clamp(limit, sketch.most)
            above = int((sketch.values > noise).sum()) if noise else sketch.most
            return min(self.rule.rank(sketch.spectrum), max(above, self.rule.min_rank))

        def enough(sketch: Sketch) -> bool:
            # The last directions of a sketch are not those of the matrix yet.
            return rank_in(sketch) <= len(sketch.values) - OVERSAMPLING // 2

        first = min(self.rule.max_rank or FIRST, FIRST) if limit is None else limit
        sketch = self.sketch(update, enough, first)
        rank = min(rank_in(sketch), len(sketch.values))
        if not rank or not sketch.norm:
            return Cut(sketch.update.zero(), 0.0, largest=0.0), sketch
        error = sketch.error(rank) / sketch.norm
        found = sketch.update.truncated(rank)
        return Cut(found, sketch.norm, 1 - error**2, error, float(sketch.values[0])), sketch

    def sketch(self, update: Dense, enough: Callable[[Sketch], bool], size: int) -> Sketch:
        """The leading directions of an update. Raises FileError where it has NaN or Inf."""
        matrix = update.matrix
        if not torch.isfinite(matrix.sum()) and not torch.isfinite(matrix).all():
            raise FileError(
                "contains NaN or Inf", fix="leave the layer out with the layers selector"
            )
        if self.exact:
            return exactly(matrix, update.shape)
        return sketched(matrix, update.shape, enough, size, self.seed)


def as_large_whole(shape: tuple[int, ...], rank: int) -> bool:
    """Whether factors of this rank take as much room as the weight (out, in, *kernel) itself."""
    out, inner = shape[0], prod(shape[1:])
    return rank * (out + inner) >= out * inner
