"""The leading part of a matrix that is only ever seen in tiles of whole rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import fsum, sqrt

from ..deferred import Tensor, torch
from .low_rank import LowRank

OVERSAMPLING, POWERS = 8, 2

Tiles = Callable[[], Iterable[Tensor]]


@dataclass(frozen=True)
class Found:
    """An update, and what it stands for: the matrix's norm and the distance from it, Frobenius."""

    update: LowRank
    norm: float
    error: float


def leading(tiles: Tiles, shape: tuple[int, ...], rank: int, seed: int, like: Tensor) -> Found:
    """Nearly the best update of this rank of a matrix of `shape` (out, in, *kernel).

    `tiles()` starts a new visit of its rows from top to bottom; of the dtype and device of `like`.
    Halko, Martinsson and Tropp 2011, algorithm 4.4 on the row space: one visit applies T^T T to the
    basis, the last one projects and measures what is outside, so that the error is exact whatever
    the spectrum is. Random numbers are drawn on the CPU: one seed, one result on every device.
    """
    out, inner = shape[0], like.shape[-1]
    size = min(rank + OVERSAMPLING, out, inner)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(inner, size, generator=generator, dtype=like.dtype).to(like.device)
    for _ in range(POWERS):
        image = torch.zeros_like(basis)
        for tile in tiles():
            image += tile.T @ (tile @ basis)
        # Only directions count: tiny updates shall not underflow when they are squared again.
        basis = torch.linalg.qr(
            image / image.abs().max().clamp_min(torch.finfo(image.dtype).tiny)
        ).Q
    rows, squares, outside = [], [], []
    for tile in tiles():
        rows.append(tile @ basis)
        squares.append(_square(tile))
        outside.append(_square(tile - rows[-1] @ basis.T))
    found = LowRank.of(torch.cat(rows), basis.T, shape)
    cut = found.svd.values[rank:].square().tolist()
    return Found(found.truncated(rank), sqrt(fsum(squares)), sqrt(fsum(outside) + fsum(cut)))


def _square(tile: Tensor) -> float:
    return float(torch.linalg.vector_norm(tile, dtype=torch.float64)) ** 2
