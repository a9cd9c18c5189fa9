"""Exact statistics of the entries of a tensor or update, a tile at a time.

Why: extremes, signs and percentiles of dW need its entries, and one dW can have 66 million of them.
They are visited in tiles that stay in cache and are never held all at once.

Order statistics are exact, too: `algebra.bins` says how.

A tensor of 16 bits or fewer, as most factors are stored, has at most 65,536 different entries: how
often each of them occurs tells everything, after a single visit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import floor, inf, isfinite, sqrt

from ..adapters.kind import DAMAGED
from ..algebra import bins
from ..algebra.bins import BINS, ZERO, Scratch
from ..algebra.cached import cached_property
from ..algebra.low_rank import LowRank
from ..algebra.update import Lazy, Update
from ..deferred import Tensor, np, torch
from ..errors import FileError

TILE = 1 << 19  # entries: with what is computed from it, a tile stays in cache
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


class Entries:
    """The entries of a tensor or update, as statistics see them.

    `tiles()` starts a new visit: float32 or float64 tensors, each valid until the next one, that
    together hold every one of the `count` entries once. `mean` and `l2` may be given where they are
    known from elsewhere, such as from the factors. Order statistics of float64 entries are those of
    the entries rounded to float32. The properties other than mean, l2 and standard_deviation raise
    FileError where an entry is NaN or Inf, or where there is none.
    """

    def __init__(
        self,
        tiles: Callable[[], Iterable[Tensor]],
        count: int,
        mean: float | None = None,
        l2: float | None = None,
    ) -> None:
        self.tiles = tiles
        self.count = count
        self._mean = mean
        self._l2 = l2
        self._found: dict[int, float] = {}

    @staticmethod
    def of_tensor(tensor: Tensor) -> Entries:
        if tensor.is_floating_point() and tensor.dtype.itemsize <= 2:
            return _Counted(tensor)
        return Entries(lambda: _pieces(tensor), tensor.numel())

    @staticmethod
    def of_update(update: Update, mean: float | None = None, l2: float | None = None) -> Entries:
        if isinstance(update, LowRank):
            count = update.up.shape[0] * update.down.shape[1]
            return Entries(lambda: update.tiles(TILE), count, mean, l2)
        if isinstance(update, Lazy):
            count = torch.Size(update.shape).numel()
            return Entries(lambda: update.tiles(TILE), count, mean, l2)
        values = update.values
        return Entries(lambda: _pieces(values), values.numel(), mean, l2)

    @property
    def minimum(self) -> float:
        return self._first.minimum

    @property
    def maximum(self) -> float:
        return self._first.maximum

    @property
    def l1(self) -> float:
        """The sum of the magnitudes."""
        return self._first.l1

    @property
    def positive(self) -> int:
        return self._first.positive

    @property
    def negative(self) -> int:
        return self._first.negative

    @property
    def mean(self) -> float:
        return self._moments[0] if self._mean is None else self._mean

    @property
    def l2(self) -> float:
        """The square root of the sum of squares."""
        return self._moments[1] if self._l2 is None else self._l2

    @property
    def standard_deviation(self) -> float:
        """Of the population: divided by the number of entries."""
        return sqrt(max(self.l2**2 / max(self.count, 1) - self.mean**2, 0.0))

    @property
    def median(self) -> float:
        """The lower of the two middle entries, as torch.median."""
        rank = (self.count - 1) // 2
        return self.smallest([rank])[rank]

    def percentile(self, percent: float) -> float:
        """Linear between neighbours, as numpy.percentile."""
        position = percent / 100 * (self.count - 1)
        low = min(floor(position), self.count - 1)
        high = min(low + 1, self.count - 1)
        found = self.smallest([low, high])
        return found[low] + (found[high] - found[low]) * (position - low)

    def smallest(self, ranks: Iterable[int]) -> dict[int, float]:
        """Rank -> the entry that has this many entries before it in sorted order."""
        missing = set(ranks) - set(self._found)
        if missing:
            # What the built-in statistics ask for is found in the same visit.
            usual = {(self.count - 1) // 2}
            for percent in PERCENTILES:
                low = floor(percent / 100 * (self.count - 1))
                usual |= {low, min(low + 1, self.count - 1)}
            self._found |= self._find(sorted(missing | usual))
        return self._found

    @cached_property
    def _first(self) -> _FirstVisit:
        if not self.count:
            raise FileError("it has no entries", fix="leave it out with the layers selector")
        first = self._visit()
        if not isfinite(first.minimum) or not isfinite(first.maximum):
            raise FileError("it has NaN or Inf entries", fix=DAMAGED)
        return first

    def _visit(self) -> _FirstVisit:
        return _FirstVisit.of(self.tiles())

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """The mean and the square root of the sum of squares, added up in float64."""
        total = squares = 0.0
        for tile in self.tiles():
            wide = tile.double().reshape(-1)
            total += float(wide.sum())
            squares += float(wide @ wide)
        return total / max(self.count, 1), sqrt(squares)

    def _find(self, ranks: list[int]) -> dict[int, float]:
        return bins.smallest(self.tiles(), self._first.counts, ranks)


class _Counted(Entries):
    """The entries of a tensor of 16 bits or fewer, from how often each number occurs in it."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(lambda: _pieces(tensor), tensor.numel())
        self._tensor = tensor

    @cached_property
    def _different(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers that occur, ascending in float64 with NaN last, and how often each does."""
        dtype = self._tensor.dtype
        order, numbers = _all_numbers(dtype)
        bits = self._tensor.reshape(-1).view(_bits_of(dtype))
        counts = torch.zeros(len(order), dtype=torch.int64, device=bits.device)
        for start in range(0, self.count, TILE):
            patterns = bits[start : start + TILE].int() & (len(order) - 1)
            counts += torch.bincount(patterns, minlength=len(order))
        ordered = counts.cpu().numpy()[order]
        return numbers[ordered > 0], ordered[ordered > 0]

    def _visit(self) -> _FirstVisit:
        numbers, counts = self._different
        return _FirstVisit(
            minimum=float(numbers[0]),
            maximum=float(numbers[-1]),
            l1=float(counts @ np.abs(numbers)),
            positive=int(counts[numbers > 0].sum()),
            negative=int(counts[numbers < 0].sum()),
            counts=counts,
        )

    @cached_property
    def _moments(self) -> tuple[float, float]:
        numbers, counts = self._different
        return float(counts @ numbers) / max(self.count, 1), sqrt(float(counts @ numbers**2))

    def _find(self, ranks: list[int]) -> dict[int, float]:
        places = np.searchsorted(self._first.counts.cumsum(), ranks, side="right")
        return dict(zip(ranks, map(float, self._different[0][places]), strict=True))


def _bits_of(dtype: torch.dtype) -> torch.dtype:
    return torch.uint8 if dtype.itemsize == 1 else torch.int16


@lru_cache
def _all_numbers(dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Every bit pattern of a dtype in the order of the numbers, NaN last, and those numbers."""
    patterns = torch.arange(1 << (8 * dtype.itemsize), dtype=torch.int32).to(_bits_of(dtype))
    numbers = patterns.view(dtype).float().double().numpy()
    order = numbers.argsort(kind="stable")
    return order, numbers[order]


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    flat = tensor.reshape(-1)
    for start in range(0, flat.numel(), TILE):
        piece = flat[start : start + TILE]
        yield piece if piece.dtype in (torch.float32, torch.float64) else piece.float()


@dataclass
class _FirstVisit:
    """What one visit of all entries tells.

    `counts` is the number of entries per bin; of counted tensors, per number that occurs.
    """

    counts: np.ndarray
    minimum: float = inf
    maximum: float = -inf
    l1: float = 0.0
    positive: int = 0
    negative: int = 0

    @classmethod
    def of(cls, tiles: Iterable[Tensor]) -> _FirstVisit:
        found, scratch = cls(np.zeros(BINS, dtype=np.int64)), Scratch()
        for tile in tiles:
            low, high = torch.aminmax(tile)
            found.minimum = min(found.minimum, float(low))
            found.maximum = max(found.maximum, float(high))
            magnitudes = scratch.magnitudes(tile)
            l1 = float(magnitudes.sum())
            found.l1 += l1 if isfinite(l1) else float(magnitudes.sum(dtype=torch.float64))
            counts = scratch.counts(tile)
            found.counts += counts
            if counts[0] or counts[ZERO]:
                # Zeros of both signs share a bin with the tiniest numbers.
                found.negative += int((tile < 0).sum())
                found.positive += int((tile > 0).sum())
            else:
                found.negative += int(counts[:ZERO].sum())
                found.positive += int(counts[ZERO:].sum())
        return found
