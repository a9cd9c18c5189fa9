"""LoKr: dW = scale * kron(w1, w2), each of the two stored whole or as a product of factors.

w1 [o1, i1] is `w1` or `w1_a w1_b`; w2 [o2, i2, *kernel] is `w2`, `w2_a w2_b` (the kernel part of
its columns) or, with t2 [r, r, *kernel] (Tucker form), folded over it: w2_a [r, o2], w2_b [r, i2].

The Kronecker product of products is a product: kron(a b, c d) = kron(a, c) kron(b, d), of the rank
of both together; a matrix stored whole is a product with an identity. And its singular values are
the products of both factors' singular values, its singular vectors the Kronecker products of theirs
(Horn and Johnson, Topics in Matrix Analysis, 4.2.15): milliseconds instead of most of a minute.
"""

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from ..algebra import lapack
from ..algebra.low_rank import Dense, LowRank, Svd, Update
from ..errors import FileError
from .kind import DAMAGED, Dimensions, Kind, Roles, Shapes, is_thin, product_dimensions, register
from .loha import factors, sizes

TUCKER = "LoKr with t2: ComfyUI 0.33 fails on it and leaves the layer as it is; here it counts"


def update(roles: Roles, alpha: float | None) -> Update:
    """The scale is alpha / r, with r of w2's factors, or of w1's where only w1 has factors.

    Where both are stored whole alpha does not count, and without alpha the scale is 1.0. (ComfyUI
    0.33 means the same with t2, but calls torch.kron in a way that fails.)
    """
    left = _product(roles, "w1", None)
    if left[1].ndim > 2:
        problem = f"w1 {tuple(roles['w1'].shape)} must be a matrix: only w2 has a kernel"
        raise FileError(problem, fix=DAMAGED)
    right = _product(roles, "w2", roles.get("t2"))
    rows, columns = left[0].shape[0] * right[0].shape[0], left[1].shape[1] * right[1].shape[1]
    shape = (rows, columns, *right[1].shape[2:])
    a, b = (factor.flatten(1).contiguous() for factor in right)
    rank = left[0].shape[1] * a.shape[1]
    factored = next((name for name in ("w2", "w1") if name not in roles), None)
    scale = 1.0
    if factored and alpha is not None:
        scale = alpha / roles[f"{factored}_b"].shape[0]
    if is_thin(rank, shape):
        return LowRank.of(kron(left[0], a), kron(left[1], b), shape).scaled(scale)
    return Kronecker.of(left[0] @ left[1], a @ b, shape).scaled(scale)


@dataclass(frozen=True)
class Kronecker(Dense):
    """kron(first, second), of two matrices, as a whole."""

    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, first: Tensor, second: Tensor, shape: tuple[int, ...]) -> "Kronecker":
        return cls(kron(first, second).reshape(shape), first, second)

    def scaled(self, weight: float) -> "Kronecker":
        if weight == 1.0:
            return self
        return Kronecker(self.values * weight, self.first * weight, self.second)

    def low_rank(self) -> LowRank:
        """The product U S V^T, with its decomposition at hand."""
        u1, s1, v1 = lapack.svd(self.first)
        u2, s2, v2 = lapack.svd(self.second)
        values, order = torch.outer(s1, s2).flatten().sort(descending=True, stable=True)
        noise = torch.finfo(values.dtype).eps * torch.linalg.vector_norm(values)
        kept = int((values > noise).sum())
        if not kept:
            return super().low_rank()
        values, order = values[:kept], order[:kept]
        root = values.sqrt()
        up = kron(u1, u2)[:, order] * root
        down = kron(v1, v2)[order] * root[:, None]
        # up @ diag(root) = U S, diag(root) @ down = S V^T.
        scale = torch.diag(root).cpu()
        known = Svd(values.double().cpu(), scale, scale)
        return replace(LowRank.of(up, down, self.shape), known=known)


def kron(one: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product of two matrices; torch.kron fails on some that are transposed."""
    product = one[:, None, :, None] * other[None, :, None, :]
    return product.reshape(len(one) * len(other), one.shape[1] * other.shape[1])


def _product(roles: Roles, name: str, middle: Tensor | None) -> tuple[Tensor, Tensor]:
    """(left [o, r], right [r, i, *kernel]) of w1 or w2, with an identity where it is whole."""
    whole = roles.get(name)
    if whole is None:
        return factors(roles[f"{name}_a"], roles[f"{name}_b"], middle)
    if whole.ndim < 2 or whole.numel() == 0:
        raise FileError(f"{name} {tuple(whole.shape)} must be a matrix with entries", fix=DAMAGED)
    rows, columns = whole.shape[0], whole.flatten(1).shape[1]
    if rows <= columns:
        return torch.eye(rows, dtype=whole.dtype, device=whole.device), whole
    identity = torch.eye(columns, dtype=whole.dtype, device=whole.device)
    return whole.flatten(1), identity.reshape(columns, *whole.shape[1:])


def dimensions(shapes: Shapes) -> Dimensions:
    o1, i1, _, r1 = _sizes(shapes, "w1", None)
    o2, i2, kernel, r2 = _sizes(shapes, "w2", shapes.get("t2"))
    found = product_dimensions("LoKr", r1 * r2, (o1 * o2, i1 * i2, *kernel))
    if "t2" in shapes and "w2" not in shapes:
        found = found._replace(note="; ".join(filter(None, (found.note, TUCKER))))
    return found


def _sizes(
    shapes: Shapes, name: str, middle: tuple[int, ...] | None
) -> tuple[int, int, tuple[int, ...], int]:
    """(rows, columns, kernel, rank) of w1 or w2."""
    whole = shapes.get(name)
    if whole is not None:
        return whole[0], whole[1], whole[2:], min(whole[0], prod(whole[1:]))
    return sizes(shapes[f"{name}_a"], shapes[f"{name}_b"], middle)


NAMES = ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")

LOKR = register(
    Kind(
        "LoKr",
        ({f".lokr_{name}": name for name in NAMES},),
        ("w1 | w1_a w1_b", "w2 | w2_a w2_b"),
        update,
        dimensions,
        precedence=3,
    )
)
