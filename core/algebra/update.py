"""Updates, thin or whole, and what can be said of several of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import hypot

from ..deferred import Tensor, torch
from .cached import cached_property
from .gram import length
from .low_rank import TILE_ELEMENTS, LowRank


@dataclass(frozen=True)
class Dense:
    """An update stored as a whole: a full difference, a norm, a bias. `values` has any shape.

    >>> import torch
    >>> update = core.Dense(torch.ones(3, 4))
    >>> update.scaled(0.5).values[0].tolist()
    [0.5, 0.5, 0.5, 0.5]
    >>> update.low_rank().truncated(1).rank
    1
    """

    values: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    @property
    def matrix(self) -> Tensor:
        """[out, in * kernel]; a vector is a column."""
        return self.values.flatten(1) if self.values.ndim > 1 else self.values.reshape(-1, 1)

    def scaled(self, weight: float) -> Dense:
        return self if weight == 1.0 else Dense(self.values * weight)

    def frobenius_norm(self) -> float:
        return float(torch.linalg.vector_norm(self.values.double()))

    def sum_of_entries(self) -> float:
        return float(self.values.sum(dtype=torch.float64))

    def rows(self, start: int, stop: int) -> Dense:
        return Dense(self.values.reshape(self.shape or (1,))[start:stop])

    def padded(self, before: int, after: int) -> Dense:
        zeros = [self.values.new_zeros(n, *self.shape[1:]) for n in (before, after)]
        return Dense(torch.cat([zeros[0], self.values, zeros[1]]))

    def reshaped(self, shape: tuple[int, ...]) -> Dense:
        return replace(self, values=self.values.reshape(shape))

    def rolled(self) -> Dense:
        return Dense(self.values.roll(self.shape[0] // 2, 0)) if self.shape else self

    def distance(self, other: Update) -> float:
        """||dW - dW'|| to another update of the same weight."""
        theirs = other.values if isinstance(other, Dense) else other.dense()
        apart = self.values - theirs.reshape(self.shape)
        return float(torch.linalg.vector_norm(apart.double()))

    def low_rank(self) -> LowRank:
        """The same update as a product with an identity on its smaller side. Exact."""
        return LowRank.of_matrix(self.matrix, self.shape)


class Lazy(Dense, ABC):
    """An update whose entries are made when they are asked for, a few rows at a time or all.

    `thin` makes the same update as thin factors, where that is worth it.
    """

    weight_shape: tuple[int, ...]
    thin: Callable[[], LowRank] | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weight_shape

    @abstractmethod
    def rows_of_matrix(self, start: int, stop: int) -> Tensor:
        """These rows of [out, in * kernel]."""

    @cached_property
    def values(self) -> Tensor:
        tiles = list(self.tiles())
        return (tiles[0] if len(tiles) == 1 else torch.cat(tiles)).reshape(self.shape)

    def tiles(self, elements: int = TILE_ELEMENTS) -> Iterator[Tensor]:
        """dW in blocks of whole rows, top to bottom."""
        out, *rest = self.shape
        height = max(1, elements // max(1, torch.Size(rest).numel()))
        for start in range(0, max(out, 1), height):
            yield self.rows_of_matrix(start, start + height)

    def frobenius_norm(self) -> float:
        return hypot(*map(length, self.tiles()))

    def distance(self, other: Update) -> float:
        if not isinstance(other, Lazy):
            return super().distance(other)
        pairs = zip(self.tiles(), other.tiles(), strict=True)
        return hypot(*(length(one - another) for one, another in pairs))

    def sum_of_entries(self) -> float:
        return sum(float(tile.sum(dtype=torch.float64)) for tile in self.tiles())


Update = LowRank | Dense


def inner(one: Update, other: Update) -> float:
    """<dW, dW'> of two updates of one weight, thin or whole."""
    if isinstance(one, LowRank) and isinstance(other, LowRank):
        return one.inner(other)
    first, second = (u.values if isinstance(u, Dense) else u.dense() for u in (one, other))
    return float(first.reshape(-1).double() @ second.reshape(-1).double())


def distance(one: Update, other: Update) -> float:
    """||dW - dW'|| of two updates of one weight, thin or whole."""
    if isinstance(one, Dense):
        return one.distance(other)
    if isinstance(other, Dense):
        return other.distance(one)
    return LowRank.sum([one, other.scaled(-1.0)]).frobenius_norm()


def total(terms: list[Update]) -> Update:
    """The exact sum of updates of one weight: thin while all of them are, dense otherwise."""
    if len(terms) == 1:
        return terms[0]
    if all(isinstance(term, LowRank) for term in terms):
        return LowRank.sum(term for term in terms if isinstance(term, LowRank))
    shape = max((term.shape for term in terms), key=len)
    parts = [term.values if isinstance(term, Dense) else term.dense() for term in terms]
    values = parts[0].reshape(shape)
    for part in parts[1:]:
        values = values + part.reshape(shape)
    return Dense(values)
