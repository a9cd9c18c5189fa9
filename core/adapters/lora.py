"""LoRA and LoCon: dW = alpha / rank * up @ down, with an optional middle kernel (Tucker)."""

from __future__ import annotations

from ..algebra.low_rank import LowRank
from ..deferred import Tensor, torch
from ..errors import FileError
from .kind import DAMAGED, Dimensions, Kind, Roles, Shapes, register

# (up, down) in the order in which ComfyUI looks for them.
SUFFIX_PAIRS = (
    (".lora_up.weight", ".lora_down.weight"),
    ("_lora.up.weight", "_lora.down.weight"),
    (".lora_B.weight", ".lora_A.weight"),
    (".lora.up.weight", ".lora.down.weight"),
    (".lora_B", ".lora_A"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    (".lora_B.default.weight", ".lora_A.default.weight"),
)


def update(roles: Roles, alpha: float | None) -> LowRank:
    """up [out, r], down [r, in], each with kernel dimensions behind for a convolution, as stored.

    The scale is alpha / down.shape[0]; without an alpha it is 1.0.
    """
    up, down, mid = roles["up"], roles["down"], roles.get("mid")
    if up.ndim < 2 or down.ndim < 2:
        problem = f"up {tuple(up.shape)} and down {tuple(down.shape)} must be matrices"
        raise FileError(problem, fix=DAMAGED)
    rank = down.shape[0]
    if mid is not None:
        down = fold_mid(mid, down)
    matrix = up.flatten(1)
    if matrix.shape[1] != down.shape[0]:
        problem = (
            f"up {tuple(up.shape)} and down {tuple(down.shape)} do not fit: their ranks differ"
        )
        raise FileError(problem, fix=DAMAGED)
    shape = (up.shape[0], *down.shape[1:])
    return LowRank.of(matrix, down.flatten(1), shape, _scale(alpha, rank))


def scale(shapes: Shapes, alpha: float | None) -> float:
    """alpha / rank, 1.0 without an alpha."""
    return _scale(alpha, shapes["down"][0])


def _scale(alpha: float | None, rank: int) -> float:
    return 1.0 if alpha is None or rank == 0 else alpha / rank


def fold_mid(mid: Tensor, down: Tensor) -> Tensor:
    """down [r, in, 1, 1] and mid [r, r, *kernel] as one down [r, in, *kernel].

    folded[a, i, kernel] = sum over b of mid[a, b, kernel] * down[b, i].
    """
    rank, inner = down.shape[:2]
    # ComfyUI multiplies no others.
    if mid.shape[:2] != (rank, rank) or down.numel() != rank * inner:
        problem = f"mid {tuple(mid.shape)} and down {tuple(down.shape)} do not fit"
        raise FileError(problem, fix=DAMAGED)
    return torch.einsum("ab...,bi->ai...", mid, down.flatten(1).to(mid))


def dimensions(shapes: Shapes) -> Dimensions:
    up, down, mid = shapes["up"], shapes["down"], shapes.get("mid")
    return Dimensions((up[0], down[1], *(mid or down)[2:]), down[0])


# Only kohya's form has a middle kernel.
KOHYA, *OTHERS = ({up: "up", down: "down"} for up, down in SUFFIX_PAIRS)

LORA = register(
    Kind(
        "LoRA",
        (KOHYA | {".lora_mid.weight": "mid"}, *OTHERS),
        ("up", "down"),
        update,
        dimensions,
        precedence=1,
        factors=True,
        linear=("up",),
        alpha_beside=("down",),
        scale=scale,
    )
)
