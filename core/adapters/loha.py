"""LoHa: dW = alpha / rank * (w1_a w1_b) * (w2_a w2_b), entry by entry.

With t1 and t2 (Tucker form, for convolutions) each product is folded over a small kernel; a and b
then stand the other way round: w1_a [rank, out], w1_b [rank, in], t1 [rank, rank, *kernel].

The entry-wise product of two products is a product: row o of the left factor is the Kronecker
product of the rows o of both left factors, column i of the right one likewise (Khatri-Rao), so that
its rank is at most the product of both ranks.
"""

from __future__ import annotations

from ..algebra.hadamard import Hadamard, Pair
from ..algebra.low_rank import LowRank
from ..deferred import Tensor, torch
from ..errors import FileError
from .kind import DAMAGED, Dimensions, Kind, Roles, Shapes, is_thin, product_dimensions, register


def update(roles: Roles, alpha: float | None) -> Hadamard:
    """w1_a and w2_a [out, r], w1_b and w2_b [r, in]; the scale is alpha / r, 1.0 without alpha."""
    a1, b1 = factors(roles["w1_a"], roles["w1_b"], roles.get("t1"))
    a2, b2 = factors(roles["w2_a"], roles["w2_b"], roles.get("t2"))
    shape = (a1.shape[0], *b1.shape[1:])
    if shape != (a2.shape[0], *b2.shape[1:]):
        problem = f"its two products have the shapes {shape} and {(len(a2), *b2.shape[1:])}"
        raise FileError(problem, fix=DAMAGED)
    b1, b2 = b1.flatten(1), b2.flatten(1)
    rank = a1.shape[1] * a2.shape[1]
    scale = 1.0 if alpha is None else alpha / roles["w1_b"].shape[0]

    def thin() -> LowRank:
        up = (a1[:, :, None] * a2[:, None, :]).flatten(1)
        down = (b1[:, None, :] * b2[None, :, :]).flatten(0, 1)
        return LowRank.of(up, down, shape).scaled(scale)

    pairs = Pair(a1, b1), Pair(a2, b2)
    return Hadamard(*pairs, shape, scale, thin if is_thin(rank, shape) else None)


def factors(a: Tensor, b: Tensor, middle: Tensor | None) -> tuple[Tensor, Tensor]:
    """(left [out, r], right [r, in, *kernel]) of one product, the kernel folded into the right."""
    if a.ndim != 2 or b.ndim != 2:
        raise FileError(f"{tuple(a.shape)} and {tuple(b.shape)} must be matrices", fix=DAMAGED)
    if middle is not None:
        a = a.T
        if tuple(middle.shape[:2]) != (a.shape[1], b.shape[0]):
            problem = f"{tuple(middle.shape)} does not fit {tuple(b.shape)}"
            raise FileError(problem, fix=DAMAGED)
        b = torch.einsum("ij...,jn->in...", middle, b)
    if a.shape[1] != b.shape[0]:
        problem = f"{tuple(a.shape)} and {tuple(b.shape)} do not fit: their ranks differ"
        raise FileError(problem, fix=DAMAGED)
    if a.shape[1] == 0:
        raise FileError("its rank is 0", fix="leave it out with the layers selector")
    return a, b


def dimensions(shapes: Shapes) -> Dimensions:
    rows, columns, kernel, r1 = sizes(shapes["w1_a"], shapes["w1_b"], shapes.get("t1"))
    *_, r2 = sizes(shapes["w2_a"], shapes["w2_b"], shapes.get("t2"))
    return product_dimensions("LoHa", r1 * r2, (rows, columns, *kernel))


def sizes(
    a: tuple[int, ...], b: tuple[int, ...], middle: tuple[int, ...] | None
) -> tuple[int, int, tuple[int, ...], int]:
    """(rows, columns, kernel, rank) of one product, from the shapes of its factors."""
    return (a[1], b[1], middle[2:], middle[0]) if middle else (a[0], b[1], (), b[0])


NAMES = ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")

LOHA = register(
    Kind(
        "LoHa",
        ({f".hada_{name}": name for name in NAMES},),
        ("w1_a", "w1_b", "w2_a", "w2_b"),
        update,
        dimensions,
        precedence=2,
        linear=("w1_a",),
        alpha_beside=("w1_b",),
    )
)
