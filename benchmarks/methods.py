"""Merge methods beside the way that others take: the paper's formula on dense matrices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

import core
from core.merging.merge import Merge

from .measure import Floor
from .workshop import Row, Workshop

RANK = 32


def method(shop: Workshop, name: str) -> Iterator[Row]:
    """One method on the layers of the first double block of two Flux files, at rank 32.

    Beside it the bare products of the inputs in tiles, and where we know how peers compute it, that
    way: dense matrices and a randomised decomposition (torch.svd_lowrank), with its error.
    """
    files = [shop.file("flux", RANK, "kohya"), shop.file("flux", RANK, "generic", 1)]
    loras = [core.Lora(path).modules for path in files]
    names = [n for n in loras[0] if n.startswith("double_blocks.0.") and n in loras[1]][:4]
    cpu = torch.device("cpu")
    pairs = [[lora[n].update(cpu, torch.float32) for lora in loras] for n in names]
    products = [u for pair in pairs for u in pair if isinstance(u, core.LowRank)]
    merge, weights = Merge(name), [0.7, 0.5]

    def work() -> list[float]:
        return [merge(pair, weights, RANK).error for pair in pairs]

    def multiplied() -> Floor:
        start = time.perf_counter()
        for update in products:
            for _ in update.tiles():
                pass
        return Floor(0.0, 0.0, time.perf_counter() - start)

    errors = work()
    seconds, floor, ratio = shop.in_turn(work, multiplied)
    limit = 10.0 if core.METHODS[name].needs == "tiles" else None
    details = {"seconds": seconds, "tiled mm": floor.total, "error": max(errors)}
    yield Row(f"merge by {name}, {len(names)} layers of flux", ratio, "x tiled mm", limit, details)
    if name in DENSE:
        start = time.perf_counter()
        lost = []
        for pair in pairs:
            whole = DENSE[name]([w * u.dense() for w, u in zip(weights, pair, strict=True)])  # type: ignore[union-attr]
            u, s, v = torch.svd_lowrank(whole, q=RANK, niter=4)
            lost.append(float((whole - u * s @ v.T).norm() / whole.norm()))
        other = time.perf_counter() - start
        details = {"seconds": seconds, "dense": other, "error": max(errors), "of dense": max(lost)}
        title = f"{name} on dense matrices and torch.svd_lowrank"
        yield Row(title, other / seconds, "x slower", None, details)


def _largest(matrix: Tensor, density: float = 0.5) -> Tensor:
    kept = int(density * matrix.numel())
    least = matrix.abs().flatten().kthvalue(matrix.numel() - kept + 1).values
    return torch.where(matrix.abs() >= least, matrix, 0)


def _magnitude(matrices: Sequence[Tensor]) -> Tensor:
    return torch.stack([_largest(matrix) for matrix in matrices]).sum(0)


def _ties(matrices: Sequence[Tensor]) -> Tensor:
    trimmed = torch.stack([_largest(matrix) for matrix in matrices])
    agreeing = trimmed.sign() == trimmed.sum(0).sign()
    return (trimmed * agreeing).sum(0) / agreeing.sum(0).clamp_min(1)


def _dare(matrices: Sequence[Tensor]) -> Tensor:
    kept = (torch.bernoulli(torch.full_like(matrix, 0.5)) for matrix in matrices)
    return torch.stack([m * mask / 0.5 for m, mask in zip(matrices, kept, strict=True)]).sum(0)


DENSE: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "magnitude": _magnitude, "ties": _ties, "dare": _dare,
}  # fmt: skip
