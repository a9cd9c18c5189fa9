"""Bins of float32 numbers, and codes that tell the numbers of a few bins apart.

A bin is all float32 numbers that share the upper 15 of their 32 bits (sign, exponent, 6 bits of the
mantissa). Bits of floats are ordered as the numbers are; and bins are as dense as the numbers
themselves, 64 to an octave, whatever the range. A code is the place of a number among those of the
wanted bins: which of these bins, and the lower 17 bits.

How order statistics of more entries than memory holds stay exact. A first visit counts the entries
in bins, and the counts tell in which bin the k-th smallest entry lies. A second visit (`smallest`)
looks only at the entries in the few bins that hold a wanted one, about one in a hundred, and tells
them apart by all of their bits. Nothing is left to interpolate, ties and all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..deferred import Tensor, np, torch

LOW_BITS = 17
NUMBERS = 1 << LOW_BITS  # float32 numbers per bin
BINS = 1 << 15
ZERO = BINS // 2  # the bin of 0.0; the negative numbers are before it, with -0.0 in bin 0
# Bins in the order of their numbers: negative floats are stored by magnitude.
HELD_CODES = 1 << 22  # 16 MB


class Scratch:
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
        bins = self._bins(tile)
        shorts = self.shorts[: tile.numel()].copy_(bins)
        return torch.bincount(shorts, minlength=BINS).cpu().numpy()

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


class Tally:
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


def smallest(tiles: Iterable[Tensor], counts: np.ndarray, ranks: Sequence[int]) -> dict[int, float]:
    """Rank -> the entry that has this many entries before it in sorted order, as float32.

    `counts` [BINS] are those of the same entries (`Scratch.counts`), visited once more here.
    """
    order = np.concatenate([np.arange(ZERO)[::-1], np.arange(ZERO, BINS)])
    ascending = counts[order]
    until = ascending.cumsum()
    places = np.searchsorted(until, ranks, side="right")
    wanted, slots = np.unique(places, return_inverse=True)
    tally = Tally(len(wanted) * NUMBERS)
    slot_of = torch.full((BINS,), -1, dtype=torch.int32)
    slot_of[order[wanted]] = torch.arange(len(wanted), dtype=torch.int32)
    scratch = Scratch()
    for tile in tiles:
        slot_of = slot_of.to(tile.device)
        tally.add(scratch.codes(tile, slot_of >= 0, slot_of))
    # Ranks among the entries of the wanted bins alone.
    before = until[wanted] - ascending[wanted]
    held = np.cumsum(ascending[wanted]) - ascending[wanted]
    codes = tally.smallest(np.asarray(ranks) - before[slots] + held[slots])
    return dict(zip(ranks, numbers_of(codes, order[wanted]), strict=True))


def _nonzero(mask: Tensor) -> Tensor:
    """The indices of the true entries of a flat mask; numpy is six times as fast as torch here."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().reshape(-1)


def numbers_of(codes: np.ndarray, bins: np.ndarray) -> Iterator[float]:
    """The entries that codes stand for."""
    slots, low = np.divmod(codes.astype(np.int64), NUMBERS)
    keys = bins[slots]
    low = np.where(keys < ZERO, NUMBERS - 1 - low, low)
    bits = ((keys - ZERO) * NUMBERS + low).astype(np.int32)
    return map(float, bits.view(np.float32))
