"""Updates that are the entry-wise product of two products of thin factors.

Their norms and distances take a few rows at a time: the factors of the whole, which exist, have as
many columns as both ranks multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..deferred import Tensor
from .low_rank import LowRank
from .update import Lazy


class Pair(NamedTuple):
    """left [out, r] and right [r, in * kernel] of a product."""

    left: Tensor
    right: Tensor


class Hadamard(Lazy):
    """scale * (first * second), entry by entry, as the update of a weight of some shape."""

    def __init__(
        self,
        first: Pair,
        second: Pair,
        shape: tuple[int, ...],
        scale: float = 1.0,
        thin: Callable[[], LowRank] | None = None,
    ) -> None:
        self.__dict__.update(first=first, second=second, weight_shape=shape, scale=scale, thin=thin)

    first: Pair
    second: Pair
    scale: float

    def rows_of_matrix(self, start: int, stop: int) -> Tensor:
        one, other = (pair.left[start:stop] @ pair.right for pair in (self.first, self.second))
        product = one.mul_(other)
        return product if self.scale == 1.0 else product.mul_(self.scale)

    def scaled(self, weight: float) -> Hadamard:
        thin = self.thin
        scaled = None if thin is None else lambda: thin().scaled(weight)
        return Hadamard(self.first, self.second, self.shape, self.scale * weight, scaled)

    def reshaped(self, shape: tuple[int, ...]) -> Hadamard:
        thin = self.thin
        reshaped = None if thin is None else lambda: thin().reshaped(shape)
        return Hadamard(self.first, self.second, shape, self.scale, reshaped)
