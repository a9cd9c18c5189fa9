"""What the kinds that depend on the base weight make of it, as ComfyUI 0.33 applies them.

Each function takes the roles and alpha of a module, its base weight W [out, in, *kernel] and the
kind that is modified, if one is; and gives W' - W.
"""

from __future__ import annotations

from collections.abc import Callable

from ..algebra.low_rank import LowRank
from ..algebra.update import Dense, Update
from ..deferred import Tensor, torch
from ..errors import FileError
from .kind import DAMAGED, Kind, Roles

OnBase = Callable[[Roles, float | None, Tensor, Kind | None], Update]


def dora(roles: Roles, alpha: float | None, base: Tensor, modified: Kind | None) -> Dense:
    """m / n * (W + dW) - W, for a magnitude m of every row or of every column.

    ComfyUI's n are the norms of the rows of W itself, or of the columns of W + dW. PEFT's
    magnitudes, which ComfyUI does not read, are of rows, and n of the rows of W + dW (Liu 2024).
    """
    assert modified is not None
    if modified.update is not None:
        update = modified.update(roles, alpha)
        change = update.values if isinstance(update, Dense) else update.dense()
    else:
        assert modified.on_base is not None
        inner = modified.on_base(roles, alpha, base, None)
        change = inner.values if isinstance(inner, Dense) else inner.dense()
        if "blocks" in roles:  # ComfyUI multiplies by alpha here, which is a limit there.
            change = change * (alpha or 0.0)
    changed = base + _fitting(change, base)
    magnitude = roles.get("magnitude")
    if magnitude is None:
        return _rescaled(changed, roles["peft magnitude"].reshape(-1), changed.flatten(1), base, 0)
    if magnitude.shape[:1] == changed.shape[:1]:
        return _rescaled(changed, magnitude.reshape(-1), base.flatten(1), base, 0)
    return _rescaled(changed, magnitude.reshape(-1), changed.transpose(0, 1).flatten(1), base, 1)


def _rescaled(changed: Tensor, magnitude: Tensor, of: Tensor, base: Tensor, dim: int) -> Dense:
    """The changed weight with the lengths along `dim` that the magnitude says, minus the base."""
    norms = torch.linalg.vector_norm(of, dim=1) + torch.finfo(torch.float32).eps
    if magnitude.shape != norms.shape:
        problem = f"its magnitude {tuple(magnitude.shape)} does not fit {tuple(base.shape)}"
        raise FileError(problem, fix=DAMAGED)
    view = [1] * changed.ndim
    view[dim] = -1
    return Dense(changed * (magnitude / norms).reshape(view) - base)


def glora(roles: Roles, alpha: float | None, base: Tensor, modified: Kind | None) -> LowRank:
    """scale * (W a1 a2 + b1 b2), or of the older form scale * (W a2 a1 + b2 b1): a thin product.

    W is multiplied along its columns; a convolution's, at every place of the kernel.
    """
    a1, a2, b1, b2 = (roles[name].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    old = b2.shape[1] == b1.shape[0] == a1.shape[0] == a2.shape[1]
    new = b2.shape[0] == b1.shape[1] == a1.shape[1] == a2.shape[0]
    if not (old or new):
        raise FileError("the ranks of its four factors differ", fix=DAMAGED)
    if new and not (old and a2.shape[0] == base.shape[0] == base.shape[1]):
        old = False
    if old:
        a1, a2, b1, b2 = a2, a1, b2, b1
    rank = len(a2)
    scale = 1.0 if alpha is None else alpha / rank
    shape = tuple(base.shape)
    if base.ndim > 2 and not old:
        # sum over i of W[o, i, k] a1[i, r] has a column for every place k of the kernel.
        turned = base.flatten(2).transpose(1, 2) @ a1 @ a2
        first = turned.transpose(1, 2).reshape(len(base), -1)
        return LowRank.sum([LowRank.of_matrix(first, shape), LowRank.of(b1, b2, shape)]).scaled(
            scale
        )
    parts = [LowRank.of(base.flatten(1) @ a1, a2, shape), LowRank.of(b1, b2, shape)]
    return LowRank.sum(parts).scaled(scale)


def cayley(blocks: Tensor, limit: float) -> Tensor:
    """Rotations (I + Q)(I - Q)^-1 of Q = B - B^T, its norm held below the limit if there is one.

    `blocks` are [..., n, n].
    """
    identity = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    q = blocks - blocks.mT
    if limit > 0:
        size = torch.linalg.vector_norm(q) + 1e-8
        q = q * (limit / size).clamp(max=1.0)
    rotations: Tensor = (identity + q) @ torch.linalg.inv(identity - q)
    return rotations


def oft(roles: Roles, alpha: float | None, base: Tensor, modified: Kind | None) -> Dense:
    """R^T W - W, with a rotation R for every block of rows. `rescale` does not count in ComfyUI."""
    blocks = roles["blocks"]
    count, size = blocks.shape[:2]
    if count * size != len(base):
        raise FileError(f"{count} blocks of {size} rows do not fit {len(base)} rows", fix=DAMAGED)
    rows = base.reshape(count, size, -1)
    turned = cayley(blocks, alpha or 0.0).mT @ rows
    return Dense((turned - rows).reshape(base.shape))


def boft(roles: Roles, alpha: float | None, base: Tensor, modified: Kind | None) -> Dense:
    """The rows of W turned in pairs of blocks, one butterfly after the other (Liu et al. 2023)."""
    blocks = roles["blocks"]
    steps, count, size = blocks.shape[:3]
    if count * size != len(base):
        raise FileError(f"{count} blocks of {size} rows do not fit {len(base)} rows", fix=DAMAGED)
    rotations, turned = cayley(blocks, alpha or 0.0), base.flatten(1)
    for step in range(steps):
        stride = 2**step * (size // 2)
        order = torch.arange(len(base), device=base.device)
        order = order.reshape(-1, 2, stride).transpose(1, 2).reshape(-1)
        rows = (rotations[step] @ turned[order].reshape(count, size, -1)).reshape(turned.shape)
        turned = torch.empty_like(rows).index_copy_(0, order, rows)
    turned = turned.reshape(base.shape)
    if "rescale" in roles:
        turned = turned * roles["rescale"].reshape(-1, *(1,) * (base.ndim - 1))
    return Dense(turned - base)


def replaced(roles: Roles, alpha: float | None, base: Tensor, modified: Kind | None) -> Dense:
    """The stored weight instead of the base."""
    return Dense(_fitting(roles["values"], base) - base)


def _fitting(change: Tensor, base: Tensor) -> Tensor:
    if change.numel() != base.numel():
        problem = f"{tuple(change.shape)} does not fit the base weight {tuple(base.shape)}"
        raise FileError(problem, fix="use the base model that it was made for")
    return change.reshape(base.shape)
