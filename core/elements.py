"""Exact statistics of the entries of a tensor or update, a tile at a time.

Why: extremes, signs and percentiles of dW need its entries, and one dW can have 66 million of them.
They are visited in tiles that stay in cache and are never held all at once.

How order statistics stay exact. The first visit counts the entries in bins: a bin is all float32
numbers that share the upper 15 of their 32 bits (sign, exponent, 6 bits of the mantissa). Bits of
floats are ordered as the numbers are, so the counts tell in which bin the k-th smallest entry lies;
and bins are as dense as the numbers themselves, 64 to an octave, whatever the range. The second
visit looks only at the entries in the few bins that hold a wanted one, about one in a hundred, and
tells them apart by the lower 17 bits. Nothing is left to interpolate, ties and all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import floor, inf, isfinite, sqrt

import numpy as np
import torch
from torch import Tensor

from .cached import cached_property
from .errors import LoraError
from .low_rank import LowRank, Update

TILE = 1 << 19  # entries: with what is computed from it, a tile stays in cache
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)

LOW_BITS = 17
NUMBERS = 1 << LOW_BITS  # float32 numbers per bin
BINS = 1 << 15
ZERO = BINS // 2  # the bin of 0.0; the negative numbers are before it, with -0.0 in bin 0
# Bins in the order of their numbers: negative floats are stored by magnitude.
ASCENDING = np.concatenate([np.arange(ZERO)[::-1], np.arange(ZERO, BINS)])
HELD_CODES = 1 << 22  # 16 MB


class Entries:
    """The entries of a tensor or update, as statistics see them.

    `tiles()` starts a new visit: float32 or float64 tensors, each valid until the next one, that
    together hold every one of the `count` entries once. `mean` and `l2` may be given where they are
    known from elsewhere, such as from the factors. Order statistics of float64 entries are those of
    the entries rounded to float32. The properties raise LoraError where an entry is NaN or Inf, or
    where there is none.
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
        return Entries(lambda: _pieces(tensor), tensor.numel())

    @staticmethod
    def of_update(update: Update, mean: float | None = None, l2: float | None = None) -> Entries:
        if isinstance(update, LowRank):
            count = update.up.shape[0] * update.down.shape[1]
            return Entries(lambda: _products(update), count, mean, l2)
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
            raise LoraError("it has no entries")
        return _FirstVisit(self.tiles())

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
        counts = self._first.counts[ASCENDING]
        until = counts.cumsum()
        places = np.searchsorted(until, ranks, side="right")
        wanted, slots = np.unique(places, return_inverse=True)
        tally = _Tally(len(wanted) * NUMBERS)
        slot_of = torch.full((BINS,), -1, dtype=torch.int32)
        slot_of[ASCENDING[wanted]] = torch.arange(len(wanted), dtype=torch.int32)
        scratch = _Scratch()
        for tile in self.tiles():
            slot_of = slot_of.to(tile.device)
            tally.add(scratch.codes(tile, slot_of >= 0, slot_of))
        # Ranks among the entries of the wanted bins alone.
        before = until[wanted] - counts[wanted]
        held = np.cumsum(counts[wanted]) - counts[wanted]
        codes = tally.smallest(np.asarray(ranks) - before[slots] + held[slots])
        return dict(zip(ranks, _numbers(codes, ASCENDING[wanted]), strict=True))


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    flat = tensor.reshape(-1)
    return (flat[start : start + TILE] for start in range(0, flat.numel(), TILE))


def _products(update: LowRank) -> Iterator[Tensor]:
    """As update.tiles(), every tile in the same memory."""
    out, inner = update.up.shape[0], update.down.shape[1]
    height = max(1, TILE // max(1, inner))
    memory = update.up.new_empty(min(height, out), inner)
    for start in range(0, out, height):
        up = update.up[start : start + height]
        yield torch.mm(up, update.down, out=memory[: len(up)])


class _FirstVisit:
    """What one visit of all tiles tells: extremes, signs, l1 and the number of entries per bin."""

    def __init__(self, tiles: Iterable[Tensor]) -> None:
        self.minimum, self.maximum, self.l1 = inf, -inf, 0.0
        self.positive = self.negative = 0
        self.counts = np.zeros(BINS, dtype=np.int64)
        scratch = _Scratch()
        for tile in tiles:
            low, high = torch.aminmax(tile)
            self.minimum = min(self.minimum, float(low))
            self.maximum = max(self.maximum, float(high))
            magnitudes = scratch.magnitudes(tile)
            l1 = float(magnitudes.sum())
            self.l1 += l1 if isfinite(l1) else float(magnitudes.sum(dtype=torch.float64))
            counts = scratch.counts(tile)
            self.counts += counts
            if counts[0] or counts[ZERO]:
                # Zeros of both signs share a bin with the tiniest numbers.
                self.negative += int((tile < 0).sum())
                self.positive += int((tile > 0).sum())
            else:
                self.negative += int(counts[:ZERO].sum())
                self.positive += int(counts[ZERO:].sum())
        if not isfinite(self.minimum) or not isfinite(self.maximum):
            raise LoraError("it has NaN or Inf entries")


class _Scratch:
    """Memory for what is computed from one tile, used again for the next.

    Fresh memory of this size costs as much in page faults as the arithmetic that fills it.
    """

    def __init__(self) -> None:
        self.words = torch.empty(0, dtype=torch.int32)
        self.shorts = torch.empty(0, dtype=torch.int16)

    def _fit(self, tile: Tensor) -> Tensor:
        """An int32 for every entry."""
        if self.words.numel() < tile.numel() or self.words.device != tile.device:
            self.words = self.words.new_empty(tile.numel(), device=tile.device)
            self.shorts = self.shorts.new_empty(tile.numel(), device=tile.device)
        return self.words[: tile.numel()]

    def magnitudes(self, tile: Tensor) -> Tensor:
        """The float32 magnitudes of the entries, flat."""
        return torch.abs(tile.float().reshape(-1), out=self._fit(tile).view(torch.float32))

    def counts(self, tile: Tensor) -> np.ndarray:
        """The number of entries in every bin."""
        bins = self.shorts[: tile.numel()].copy_(self._bins(tile))
        return torch.bincount(bins, minlength=BINS).cpu().numpy()

    def codes(self, tile: Tensor, wanted: Tensor, slot_of: Tensor) -> Tensor:
        """A number for every entry that lies in a wanted bin, ordered as the entries are."""
        bins = self._bins(tile)
        where = _nonzero(wanted.index_select(0, bins))
        bins = bins[where]
        low = tile.float().reshape(-1)[where].view(torch.int32) & (NUMBERS - 1)
        low = torch.where(bins < ZERO, NUMBERS - 1 - low, low)
        return slot_of.index_select(0, bins) * NUMBERS + low

    def _bins(self, tile: Tensor) -> Tensor:
        """The bin of every entry, flat, int32."""
        bits = tile.float().reshape(-1).view(torch.int32)
        return torch.bitwise_right_shift(bits, LOW_BITS, out=self._fit(tile)).add_(ZERO)


class _Tally:
    """A multiset of codes below `size`: listed while they are few, counted once they are many."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        self.codes: list[Tensor] = []
        self.counts: Tensor | None = None

    def add(self, codes: Tensor) -> None:
        self.codes.append(codes)
        self.held += len(codes)
        if self.held > HELD_CODES:
            self._count()

    def _count(self) -> None:
        if not self.codes:
            return
        counted = torch.bincount(torch.cat(self.codes), minlength=self.size)
        self.counts = counted if self.counts is None else self.counts + counted
        self.held, self.codes = 0, []

    def smallest(self, ranks: np.ndarray) -> np.ndarray:
        """The codes at these ranks of the sorted multiset."""
        found: np.ndarray
        if self.counts is None:
            found = np.partition(torch.cat(self.codes).cpu().numpy(), ranks)[ranks]
        else:
            self._count()
            found = np.searchsorted(self.counts.cpu().numpy().cumsum(), ranks, side="right")
        return found


def _nonzero(mask: Tensor) -> Tensor:
    """The indices of the true entries of a flat mask; numpy is six times as fast as torch here."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().reshape(-1)


def _numbers(codes: np.ndarray, bins: np.ndarray) -> Iterator[float]:
    """The entries that codes stand for."""
    slots, low = np.divmod(codes.astype(np.int64), NUMBERS)
    keys = bins[slots]
    low = np.where(keys < ZERO, NUMBERS - 1 - low, low)
    bits = ((keys - ZERO) * NUMBERS + low).astype(np.int32)
    return map(float, bits.view(np.float32))
