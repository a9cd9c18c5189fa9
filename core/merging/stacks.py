"""The entries of several updates of one weight, a tile of whole rows of each at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ..algebra.low_rank import TILE_ELEMENTS, LowRank
from ..algebra.sizes import SAMPLED, Sizes
from ..algebra.update import Update
from ..deferred import Tensor, np, torch
from ..errors import MismatchError

LANES = 1 << 16  # How many different chances there are.


class Stacks:
    """Visits of n updates side by side: stacks [n, rows, in] from top to bottom.

    Every visit computes the same numbers, in tiles of about TILE_ELEMENTS entries together, each in
    the memory of the one before: fresh memory costs more than the arithmetic that fills it. `spare`
    are two planes [rows, in] beside the stack, for whoever visits. What is not LowRank is a matrix.
    Raises MismatchError for updates of different sizes.
    """

    def __init__(self, updates: Sequence[Update], seed: int = 0) -> None:
        sizes = {matrix_shape(update) for update in updates}
        if len(sizes) != 1:
            raise MismatchError("updates of different sizes", fix="blend LoRAs of one model")
        self.updates, self.seed = list(updates), seed
        ((self.out, self.inner),) = sizes
        self.count = self.out * self.inner
        height = max(1, TILE_ELEMENTS // max(1, len(updates) * self.inner))
        self._height = max(1, min(self.out, height))
        numbers = [u.up if isinstance(u, LowRank) else u.values for u in self.updates]
        self.dtype = max((n.dtype for n in numbers), key=lambda dtype: dtype.itemsize)
        self._memory = numbers[0].new_empty(
            len(updates) + 2, self._height, self.inner, dtype=self.dtype
        )
        self.spare = self._memory[len(updates) :]

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, self.out, self._height):
            stop = min(start + self._height, self.out)
            planes = self._memory[:, : stop - start]
            self.spare = planes[len(self.updates) :]
            stack = planes[: len(self.updates)]
            for update, place in zip(self.updates, stack, strict=True):
                self._fill(place, update, slice(start, stop))
            yield stack

    def _fill(self, place: Tensor, update: Update, rows: slice) -> None:
        if not isinstance(update, LowRank):
            place.copy_(update.matrix[rows])
        elif update.dtype == self.dtype:
            torch.mm(update.up[rows], update.down, out=place)
        else:
            place.copy_(update.up[rows] @ update.down)

    def tiles(self, index: int) -> Iterator[Tensor]:
        """The tiles of one of the updates, as they are in the stacks; each in the same memory."""
        for start in range(0, self.out, self._height):
            stop = min(start + self._height, self.out)
            place = self._memory[0, : stop - start]
            self._fill(place, self.updates[index], slice(start, stop))
            yield place

    def with_chances(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each stack with a number of [0, 1), a multiple of 1 / LANES, for every entry in float32:
        the same in every visit.

        An entry's number depends on the seed, the place of its update and its own place only, not
        on the size of tiles or the device. Four of them share a word of the generator.
        """
        sources = [np.random.PCG64([self.seed, index]) for index in range(len(self.updates))]
        words = -(-self.inner // 4)
        drawn = np.empty((len(sources), self._height, self.inner), dtype=np.float32)
        for stack in self:
            rows = stack.shape[1]
            for source, place in zip(sources, drawn, strict=True):
                lanes = source.random_raw(rows * words).view("<u2").reshape(rows, 4 * words)
                np.multiply(
                    lanes[:, : self.inner],
                    np.float32(1 / LANES),
                    out=place[:rows],
                    dtype=np.float32,
                )
            yield stack, torch.from_numpy(drawn[:, :rows]).to(stack.device)

    def magnitudes(self, ranks: Sequence[int]) -> np.ndarray:
        """The sizes of the entries at these ranks, the largest is rank 0: float32 [ranks, n].

        Exact order statistics of the entries rounded to float32.
        """
        ascending = [self.count - 1 - rank for rank in ranks]
        found = []
        for index in range(len(self.updates)):
            sizes = Sizes(partial(self.tiles, index), self._sample(index))
            found.append(sizes.at(ascending, self.count))
        return np.array(found, dtype=np.float32).T

    def _sample(self, index: int) -> Tensor:
        """Entries of some rows and columns of an update, all over it."""
        update = self.updates[index]
        rows, columns = (slice(0, None, max(1, n // SAMPLED)) for n in (self.out, self.inner))
        if isinstance(update, LowRank):
            return update.up[rows] @ update.down[:, columns]
        return update.matrix[rows, columns]


def matrix_shape(update: Update) -> tuple[int, int]:
    """(out, in * kernel)."""
    if isinstance(update, LowRank):
        return update.matrix_shape
    out, inner = update.matrix.shape
    return out, inner
