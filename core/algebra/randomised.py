"""Truncation by random projection: the method `pca` of a blend."""

from __future__ import annotations

from ..deferred import torch
from .low_rank import LowRank


def randomised(
    update: LowRank, rank: int, oversampling: int, power_iterations: int, generator: torch.Generator
) -> LowRank:
    """An update of rank + oversampling whose decomposition begins almost as that of `update`.

    Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1, as `torch.pca_lowrank(center=False)`
    with q = rank + oversampling, without ever forming dW. Random numbers are drawn on the CPU: one
    seed, one result on every device.
    """
    up, down = update.up, update.down
    size = min(rank + oversampling, up.shape[0], down.shape[1])
    sketch = torch.randn(down.shape[1], size, generator=generator, dtype=up.dtype).to(up.device)
    basis = torch.linalg.qr(up @ (down @ sketch)).Q
    for _ in range(power_iterations):
        basis = torch.linalg.qr(down.T @ (up.T @ basis)).Q
        basis = torch.linalg.qr(up @ (down @ basis)).Q
    # dW ~ basis basis^T dW
    return LowRank.of(basis, (basis.T @ up) @ down, update.shape)
