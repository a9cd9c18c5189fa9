"""The leading part of a matrix that is only ever seen in tiles of whole rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import fsum, sqrt

from ..deferred import Tensor, torch
from .low_rank import LowRank

OVERSAMPLING, POWERS = 8, 2
LITTLE = 1e-3  # of the square, which float32 products know to about 1e-7

Tiles = Callable[[], Iterable[Tensor]]


@dataclass(frozen=True)
class Found:
    """An update, and what it stands for: the matrix's norm and the distance from it, Frobenius."""

    update: LowRank
    norm: float
    error: float


def leading(
    tiles: Tiles,
    shape: tuple[int, ...],
    rank: int,
    seed: int,
    like: Tensor,
    start: Tensor | None = None,
) -> Found:
    """Nearly the best update of this rank of a matrix of `shape` (out, in, *kernel).

    `tiles()` starts a new visit of its rows from top to bottom; of the dtype and device of `like`.
    Halko, Martinsson and Tropp 2011, algorithm 4.4 on the row space: one visit applies T^T T to the
    basis, another projects and measures what is outside, so that the error is exact whatever the
    spectrum is (one more does, where little is outside). It begins with random numbers, drawn on
    the CPU (one seed, one result on every device), or nearer: with a guess `start` [in, k] of what
    the matrix reads, best first.
    """
    out, inner = shape[0], like.shape[-1]
    size = min(rank + OVERSAMPLING, out, inner)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(inner, size, generator=generator, dtype=like.dtype).to(like.device)
    if start is not None:
        basis[:, : start.shape[1]] = start[:, :size]
    for _ in range(POWERS if start is None else 1):
        image = torch.zeros_like(basis.T, memory_format=torch.contiguous_format)
        for tile in tiles():
            torch.addmm(image, (tile @ basis).T, tile, out=image)
        # Only directions count: tiny updates shall not underflow when they are squared again.
        basis = torch.linalg.qr(
            image.T / image.abs().max().clamp_min(torch.finfo(image.dtype).tiny)
        ).Q
    rows, squares, image = [], [], torch.zeros_like(basis.T.contiguous())
    for tile in tiles():
        rows.append(tile @ basis)
        torch.addmm(image, rows[-1].T, tile, out=image)
        squares.append(_square(tile))
    whole = fsum(squares)
    if whole - fsum(map(_square, rows)) > LITTLE * whole:
        # With the columns Y = Q R of T basis, Q Q^T T = Q R^-T (Y^T T): half a step further.
        columns = torch.linalg.qr(torch.cat(rows).cpu().double())
        read = torch.linalg.solve_triangular(columns.R.T, image.cpu().double(), upper=False)
        found = LowRank.of(columns.Q.to(image), read.to(image), shape)
        outside = whole - _square(read)
    else:  # These differences would have lost their digits.
        found = LowRank.of(torch.cat(rows), basis.T, shape)
        pairs = zip(tiles(), rows, strict=True)
        outside = fsum(_square(torch.addmm(tile, row, basis.T, alpha=-1)) for tile, row in pairs)
    cut = found.svd.values[rank:].square().tolist()
    return Found(found.truncated(rank), sqrt(whole), sqrt(max(outside, 0.0) + fsum(cut)))


def _square(tile: Tensor) -> float:
    rows = torch.linalg.vector_norm(tile, dim=1)  # In float64 at once it takes three times as long.
    return float(rows.double().square().sum())
