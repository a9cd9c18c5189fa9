"""The leading part of a whole matrix: as many singular values of it as a rule asks for.

A random basis of a few directions is turned towards the leading ones by power iterations (Halko,
Martinsson and Tropp 2011, algorithm 4.4, orthonormal after every product), and grows until the rank
is known. What it leaves is measured, not estimated: of a projection, |A|^2 = |kept|^2 + |left|^2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot, sqrt

from ..deferred import Tensor, torch
from .gram import lengths
from .low_rank import LowRank
from .range_finder import OVERSAMPLING, POWERS

# Relative to the norm: where less is left than this, the difference of squares has few digits.
CANCELLED = 0.01
ROWS = 1024  # of a matrix that are visited at once, to measure what is left


@dataclass(frozen=True)
class Sketch:
    """The leading singular directions of a matrix, as far as they are known.

    `update` has their product, `values` are their singular values (float64, descending), `norm` is
    the Frobenius norm of the whole matrix and `left` that of what is not in `update`. `most` is how
    many singular values the matrix has.
    """

    update: LowRank
    values: Tensor
    norm: float
    left: float
    most: int

    @property
    def spectrum(self) -> Tensor:
        """All singular values: those that are known, then what is left, spread evenly."""
        rest = self.most - len(self.values)
        if rest <= 0:
            return self.values
        level = min(self.left / sqrt(rest), float(self.values[-1]) if len(self.values) else 0.0)
        return torch.cat([self.values, torch.full((rest,), level, dtype=torch.float64)])

    def error(self, rank: int) -> float:
        """The Frobenius norm of what is lost with so many of the known directions."""
        return hypot(self.left, *self.values[rank:].tolist())


def exactly(matrix: Tensor, shape: tuple[int, ...]) -> Sketch:
    """All directions of a matrix [out, in * kernel], by a dense decomposition."""
    update = LowRank.of_matrix(matrix, shape)
    values = update.svd.values
    return Sketch(update, values, hypot(*values.tolist()), 0.0, min(matrix.shape))


def sketched(
    matrix: Tensor,
    shape: tuple[int, ...],
    enough: Callable[[Sketch], bool],
    size: int,
    seed: int = 0,
) -> Sketch:
    """The leading directions of a matrix [out, in * kernel], more and more until `enough` of them.

    `size` is how many there are to begin with, beside a few that make them accurate. Above a third
    of the rank that the matrix can have the dense decomposition is faster, and follows. Random
    numbers are drawn on the CPU: one seed, one result on every device.
    """
    most = min(matrix.shape)
    norm = float(torch.linalg.vector_norm(lengths(matrix.T)))
    generator = torch.Generator().manual_seed(seed)
    basis = matrix.new_zeros(matrix.shape[1], 0)
    size += OVERSAMPLING
    while 3 * size < most:
        more = torch.randn(len(basis), size - basis.shape[1], generator=generator)
        basis = _turned(matrix, torch.cat([basis, more.to(basis)], dim=1))
        found = LowRank.of(matrix @ basis, basis.T, shape)
        values = found.svd.values
        kept = hypot(*values.tolist())
        left = sqrt(max(norm**2 - kept**2, 0.0))
        if left < CANCELLED * norm:
            left = _left(matrix, found)
        sketch = Sketch(found, values, norm, left, most)
        if enough(sketch):
            return sketch
        size *= 2
    return exactly(matrix, shape)


def _turned(matrix: Tensor, basis: Tensor) -> Tensor:
    """An orthonormal basis [in, k] nearer to the leading right singular directions."""
    for _ in range(POWERS):
        left = _orthonormal(matrix @ basis)
        basis = _orthonormal(matrix.T @ left)
    return basis


def _orthonormal(columns: Tensor) -> Tensor:
    # Only directions count: tiny updates shall not underflow.
    largest = columns.abs().max().clamp_min(torch.finfo(columns.dtype).tiny)
    q: Tensor = torch.linalg.qr(columns / largest).Q
    return q


def _left(matrix: Tensor, found: LowRank) -> float:
    """The norm of the matrix minus its projection, without the squares' cancellation."""
    parts = [
        float(torch.linalg.vector_norm(block - up @ found.down))
        for block, up in zip(torch.split(matrix, ROWS), torch.split(found.up, ROWS), strict=True)
    ]
    return hypot(*parts)
