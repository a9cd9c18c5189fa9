"""The entries of several updates of one weight, a tile of whole rows of each at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..algebra import bins
from ..algebra.low_rank import TILE_ELEMENTS, LowRank
from ..algebra.update import Update
from ..deferred import Tensor, np, torch
from ..errors import MismatchError


class Stacks:
    """Visits of n updates side by side: stacks [n, rows, in] from top to bottom.

    Every visit computes the same numbers, in tiles of about TILE_ELEMENTS entries together.
    Raises MismatchError for updates of different sizes.
    """

    def __init__(self, updates: Sequence[Update], seed: int = 0) -> None:
        sizes = {matrix_shape(update) for update in updates}
        if len(sizes) != 1:
            raise MismatchError("updates of different sizes", fix="blend LoRAs of one model")
        self.updates, self.seed = list(updates), seed
        ((self.out, self.inner),) = sizes
        self.count = self.out * self.inner
        self._height = max(1, TILE_ELEMENTS // max(1, len(updates) * self.inner))

    @property
    def dtype(self) -> torch.dtype:
        first = self.updates[0]
        return first.dtype if isinstance(first, LowRank) else first.values.dtype

    def __iter__(self) -> Iterator[Tensor]:
        for tiles in zip(*map(self.tiles, self.updates), strict=True):
            yield torch.stack(tiles)

    def tiles(self, update: Update) -> Iterator[Tensor]:
        """The tiles of one of the updates, as they are in the stacks."""
        for start in range(0, self.out, self._height):
            rows = slice(start, start + self._height)
            if isinstance(update, LowRank):
                yield update.up[rows] @ update.down
            else:
                yield update.matrix[rows]

    def with_chances(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each stack with a number of [0, 1) for every entry: the same in every visit.

        An entry's number depends on the seed, the place of its update and its own place only, not
        on the size of tiles or the device.
        """
        numbers = range(len(self.updates))
        sources = [np.random.Generator(np.random.PCG64([self.seed, i])) for i in numbers]
        for stack in self:
            drawn = np.empty(stack.shape, dtype=np.float32)
            for source, place in zip(sources, drawn, strict=True):
                source.random(out=place, dtype=np.float32)
            yield stack, torch.from_numpy(drawn).to(stack.device)

    def magnitudes(self, ranks: Sequence[int]) -> np.ndarray:
        """The sizes of the entries at these ranks, the largest is rank 0: float32 [ranks, n].

        Exact order statistics of the entries rounded to float32, in two visits.
        """
        found = []
        ascending = [self.count - 1 - rank for rank in ranks]
        for update in self.updates:
            scratch, counts = bins.Scratch(), np.zeros(bins.BINS, dtype=np.int64)
            for tile in self.tiles(update):
                counts += scratch.counts(tile.abs())
            entries = bins.smallest((tile.abs() for tile in self.tiles(update)), counts, ascending)
            found.append([entries[rank] for rank in ascending])
        return np.array(found, dtype=np.float32).T


def matrix_shape(update: Update) -> tuple[int, int]:
    """(out, in * kernel)."""
    if isinstance(update, LowRank):
        return update.matrix_shape
    out, inner = update.matrix.shape
    return out, inner
