"""What an extraction would keep at other ranks: error against size, for the whole model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from ..algebra.range_finder import OVERSAMPLING
from ..algebra.sketch import Sketch

# Half of the change in more directions than this share of all: no small rank will do.
FLAT = 1 / 8


class Layer(NamedTuple):
    """The spectrum of a layer as far as it is known, and the numbers that one rank of it takes."""

    values: Sequence[float]
    left: float
    most: int
    cost: int

    @classmethod
    def of(cls, sketch: Sketch) -> Layer:
        # The last directions of a sketch are not those of the matrix yet: their values are too low.
        whole = not sketch.left or len(sketch.values) == sketch.most
        known = len(sketch.values) - (0 if whole else OVERSAMPLING)
        values, cost = sketch.values[:known].tolist(), sum(sketch.update.matrix_shape)
        return cls(values, sketch.error(known), sketch.most, cost)

    def lost(self, rank: int) -> tuple[float, float]:
        """The squares of what is lost at a rank: at least, and at most.

        What is left behind the known values is as flat as it can be, or falls from the last of them
        as steeply as it can.
        """
        beyond = rank - len(self.values)
        if beyond <= 0:
            exact = self.left**2 + sum(value**2 for value in self.values[rank:])
            return exact, exact
        rest = self.most - len(self.values)
        if rest <= beyond:
            return 0.0, 0.0
        last = self.values[-1] if self.values else self.left
        return max(0.0, self.left**2 - beyond * last**2), self.left**2 * (1 - beyond / rest)

    @property
    def flat(self) -> bool:
        """Whether more than FLAT of all directions hold half of the change."""
        whole = self.lost(0)[1]
        return self.lost(round(FLAT * self.most))[0] > whole / 2


class Point(NamedTuple):
    """One rank in every layer: the bytes of the factors, and the relative error, in bounds."""

    rank: int
    bytes: int
    least: float
    most: float


@dataclass(frozen=True)
class Curve:
    """Error against size. `layers` are those that have a rank, in numbers of `itemsize` bytes."""

    layers: tuple[Layer, ...] = ()
    itemsize: int = 2

    def at(self, rank: int) -> Point:
        """Every layer at this rank, or at its own where that is lower."""
        lost = [layer.lost(min(rank, layer.most)) for layer in self.layers]
        size = sum(min(rank, layer.most) * layer.cost for layer in self.layers)
        whole = sum(layer.lost(0)[1] for layer in self.layers) or 1.0
        least, most = (sqrt(sum(side) / whole) for side in zip(*lost, strict=True))
        return Point(rank, size * self.itemsize, least, most)

    @property
    def points(self) -> list[Point]:
        """At the ranks 1, 2, 4, ... up to four times what was looked at."""
        if not self.layers:
            return []
        known = max(len(layer.values) for layer in self.layers)
        highest = min(4 * known, max(layer.most for layer in self.layers))
        return [self.at(2**n) for n in range(highest.bit_length())]

    @property
    def notes(self) -> list[str]:
        """What each rank would keep, and whether any small one will do."""
        notes = []
        if points := self.points:
            each = ", ".join(f"{p.rank} ({p.bytes / 1e6:.3g} MB) {_error(p)}" for p in points)
            notes.append(f"relative error at rank: {each}")
        flat = sum(layer.flat for layer in self.layers)
        if flat:
            notes.append(
                f"the spectrum is flat in {flat} of {len(self.layers)} layers: half of the change "
                f"lies in more than {FLAT:.1%} of all directions, as after a full fine-tune, and "
                "no small rank will hold it"
            )
        return notes


def _error(point: Point) -> str:
    if point.most - point.least < 0.005 * point.most:
        return f"{point.most:.3g}"
    return f"{point.least:.2g} to {point.most:.2g}"
