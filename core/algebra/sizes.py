"""How large the k-th smallest entry of a matrix is that is only ever seen in tiles, exactly.

A sample tells between which two numbers the entry will lie; one visit counts what is below them and
holds what is between. Where the sample was wrong, or the device is none whose counting is fast,
two visits by `bins` tell the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..deferred import Tensor, np
from . import bins

SAMPLED = 512  # rows and columns
MARGIN = 0.015  # of all entries, to each side of the one that is looked for


@dataclass(frozen=True)
class Sizes:
    """The magnitudes of the entries of `tiles()`, rounded to float32. `sample` are some of them."""

    tiles: Callable[[], Iterable[Tensor]]
    sample: Tensor

    def at(self, ranks: Sequence[int], count: int) -> list[float]:
        """Those that so many of the `count` entries are before, in ascending order."""
        if self.sample.device.type == "cpu":
            brackets = [self._bracket(rank / max(count - 1, 1)) for rank in ranks]
            found = self._between(brackets, ranks)
            if found is not None:
                return found
        scratch, counts = bins.Scratch(), np.zeros(bins.BINS, dtype=np.int64)
        for tile in self.tiles():
            counts += scratch.counts(tile.abs())
        entries = bins.smallest((tile.abs() for tile in self.tiles()), counts, ranks)
        return [entries[rank] for rank in ranks]

    def _bracket(self, share: float) -> tuple[np.float32, np.float32]:
        """Two numbers between which the entry with this share of all below it should lie."""
        sizes = self.sample.float().abs().numpy().reshape(-1)
        low, high = (round((share + side * MARGIN) * len(sizes)) for side in (-1, 1))
        low = min(low, len(sizes) - 1)
        places = [place for place in (low, high) if 0 < place < len(sizes)]
        sizes = np.partition(sizes, places) if places else sizes
        least = sizes[low] if low > 0 else np.float32(0)
        most = sizes[high] if high < len(sizes) else np.float32(np.inf)
        return least, most

    def _between(
        self, brackets: Sequence[tuple[np.float32, np.float32]], ranks: Sequence[int]
    ) -> list[float] | None:
        """The entries at these ranks, or None where one is not within its bracket."""
        below = [0] * len(brackets)
        held: list[list[np.ndarray]] = [[] for _ in brackets]
        # Memory that is used again: fresh memory costs more than comparing does.
        most_sizes, masks = np.empty(0, dtype=np.float32), np.empty((2, 0), dtype=bool)
        for tile in self.tiles():
            flat = tile.reshape(-1).numpy()
            if len(flat) > len(most_sizes):
                most_sizes, masks = np.empty(len(flat), np.float32), np.empty((2, len(flat)), bool)
            sizes, (under, inside) = most_sizes[: len(flat)], masks[:, : len(flat)]
            np.abs(flat, out=sizes, casting="same_kind")
            for index, (least, most) in enumerate(brackets):
                np.less(sizes, least, out=under)
                below[index] += int(np.count_nonzero(under))
                np.less_equal(sizes, most, out=inside)
                held[index].append(sizes[np.flatnonzero(np.logical_xor(inside, under, out=inside))])
        found = []
        for rank, before, parts in zip(ranks, below, held, strict=True):
            entries = np.concatenate(parts)
            place = rank - before
            if not 0 <= place < len(entries):
                return None
            found.append(float(np.partition(entries, place)[place]))
        return found
