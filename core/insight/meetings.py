"""Two files in the same modules: figures of one module, of a block, of everything.

What only one has counts in the sums, too: it stands at a right angle to the other file. Sums over
modules are of inner products, so that the figures of a block or a file are those of all its weights
as one long vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan, sqrt

from ..algebra.cached import cached_property
from ..deferred import Tensor, torch
from ..naming.blocks import network_order
from .compare import Overlap

SHARES = ("first_in_columns", "first_in_rows", "second_in_columns", "second_in_rows")


@dataclass(frozen=True)
class Meeting:
    """Two files in one module.

    `has` says which of them have it. `angles` are the smallest between their leading directions, in
    degrees: of what they write (columns) and of what they read (rows). `by_chance` is the energy of
    each that lies inside the other's spaces if nothing connects the two. `opposed` and `entries`
    count entries of different signs, and all (0 where nobody asked).
    """

    module: str
    overlap: Overlap
    has: tuple[bool, bool]
    angles: tuple[float, float] = (nan, nan)
    by_chance: tuple[float, float] = (0.0, 0.0)
    opposed: int = 0
    entries: int = 0


@dataclass(frozen=True)
class Pair:
    """Two of the files, by their numbers, in some or all modules."""

    first: int
    second: int
    meetings: Sequence[Meeting]

    def among(self, chosen: Callable[[Meeting], bool]) -> Pair:
        """The two in some of the modules."""
        return replace(self, meetings=[m for m in self.meetings if chosen(m)])

    @property
    def common(self) -> Pair:
        """The two in what both have."""
        return self.among(lambda m: all(m.has))

    @cached_property
    def overlap(self) -> Overlap:
        """Of all modules as one vector. Shares are those of the modules where they are known."""
        return sum((m.overlap for m in self.meetings), Overlap())

    @cached_property
    def spaces(self) -> Overlap:
        """As `overlap`, of the modules alone whose spaces are known."""
        known = (m.overlap for m in self.meetings if not isnan(m.overlap.first_in_columns))
        return sum(known, Overlap())

    @property
    def by_chance(self) -> tuple[float, float]:
        """The shares of each inside the other's spaces that chance alone would give."""
        energies = (self.spaces.first, self.spaces.second)
        sums = (sum(m.by_chance[side] for m in self.meetings) for side in (0, 1))
        first, second = (s / e if e > 0 else 0.0 for s, e in zip(sums, energies, strict=True))
        return first, second

    @property
    def effects(self) -> tuple[float, float]:
        """How strong each one's own effect is in the plain sum, 1 being alone."""
        o = self.overlap
        first, second = (1 + o.inner / e if e > 0 else 1.0 for e in (o.first, o.second))
        return first, second

    @property
    def gram(self) -> Tensor:
        o = self.overlap
        return torch.tensor([[o.first, o.inner], [o.inner, o.second]], dtype=torch.float64)

    def angle(self, side: int) -> float:
        """The mean over modules, each with the norms of both as its weight."""
        known = [m for m in self.meetings if not isnan(m.angles[side])]
        sizes = [sqrt(m.overlap.first * m.overlap.second) for m in known]
        angles = [m.angles[side] for m in known]
        return _ratio(sum(a * s for a, s in zip(angles, sizes, strict=True)), sum(sizes))

    @property
    def figures(self) -> dict[str, float]:
        """What the tables say of the two here; NaN where something is not known."""
        o = self.overlap
        shares = self.spaces.shares
        known = len(self.meetings) == 0 or any(
            not isnan(m.overlap.first_in_columns) for m in self.meetings
        )
        entries = sum(m.entries for m in self.meetings)
        return {
            "first_norm": sqrt(o.first),
            "second_norm": sqrt(o.second),
            "cosine": o.cosine,
            "norm_ratio": o.norm_ratio if o.first > 0 else nan,
            "interference": o.interference,
            **{name: shares[name] if known else nan for name in SHARES},
            "column_angle": self.angle(0),
            "row_angle": self.angle(1),
            "sign_conflict": _ratio(sum(m.opposed for m in self.meetings), entries),
        }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else nan


def parts_of(pair: Pair, key: Callable[[str], str | None]) -> Iterator[tuple[str | None, Pair]]:
    """The two in each part of the network, by a key of the modules' names, in its order."""
    found: dict[str | None, list[Meeting]] = {}
    for meeting in pair.meetings:
        found.setdefault(key(meeting.module), []).append(meeting)
    for name in sorted(found, key=lambda one: (one is None, network_order(one or ""))):
        yield name, replace(pair, meetings=found[name])
