"""LoKr: dW = scale * kron(w1, w2), each of the two stored whole or as a product of factors.

w1 [o1, i1] is `w1` or `w1_a w1_b`; w2 [o2, i2, *kernel] is `w2`, `w2_a w2_b` (the kernel part of
its columns) or, with t2 [r, r, *kernel] (Tucker form), folded over it: w2_a [r, o2], w2_b [r, i2].

The Kronecker product of products is a product: kron(a b, c d) = kron(a, c) kron(b, d), of the rank
of both together; a matrix stored whole is a product with an identity. And its singular values are
the products of both factors' singular values, its singular vectors the Kronecker products of theirs
(Horn and Johnson, Topics in Matrix Analysis, 4.2.15): milliseconds instead of most of a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..algebra.kronecker import Kronecker, kron
from ..algebra.low_rank import LowRank
from ..deferred import Tensor, torch
from ..errors import FileError
from .kind import DAMAGED, Dimensions, Kind, Roles, Shapes, is_thin, product_dimensions, register
from .loha import factors, sizes

TUCKER = "LoKr with t2: ComfyUI 0.33 fails on it and leaves the layer as it is; here it counts"


def update(roles: Roles, alpha: float | None) -> Kronecker:
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
    scale = _scale(roles, alpha)

    def thin() -> LowRank:
        return LowRank.of(kron(left[0], a), kron(left[1], b), shape)

    product = Kronecker(left[0] @ left[1], a @ b, shape, thin if is_thin(rank, shape) else None)
    return product.scaled(scale)


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


def add(parts: Sequence[tuple[Roles, float | None, float]]) -> dict[str, Tensor] | None:
    """The weighted sum of updates that have one of their two matrices in common, to the bit.

    kron(w1, x) + kron(w1, y) = kron(w1, x + y), and likewise on the other side. What differs is
    written as factors side by side where all have some and that is smaller. None where no matrix is
    shared. `parts` are (roles, alpha, weight).
    """
    if any("t2" in roles for roles, _, _ in parts):
        return None
    scales = [weight * _scale(roles, alpha) for roles, alpha, weight in parts]
    found = {name: [_product(roles, name, None) for roles, _, _ in parts] for name in ("w1", "w2")}
    whole = {name: [_matrix(*pair) for pair in pairs] for name, pairs in found.items()}
    if any(len({matrix.shape for matrix in matrices}) > 1 for matrices in whole.values()):
        return None
    for shared, other in (("w1", "w2"), ("w2", "w1")):
        if not all(torch.equal(matrix, whole[shared][0]) for matrix in whole[shared]):
            continue
        kept = {role: parts[0][0][role] for role in _roles(parts[0][0], shared)}
        weighed = list(zip(whole[other], found[other], scales, strict=True))
        summed = {other: torch.stack([matrix * scale for matrix, _, scale in weighed]).sum(0)}
        if not any(other in roles for roles, _, _ in parts):
            left = torch.cat([a * scale for _, (a, _), scale in weighed], 1)
            beside = {f"{other}_a": left, f"{other}_b": torch.cat([b for _, (_, b), _ in weighed])}
            summed = min(summed, beside, key=lambda ts: sum(t.numel() for t in ts.values()))
        return kept | summed
    return None


def _roles(roles: Roles, name: str) -> list[str]:
    return [role for role in (name, f"{name}_a", f"{name}_b") if role in roles]


def _matrix(left: Tensor, right: Tensor) -> Tensor:
    return (left @ right.flatten(1)).reshape(len(left), *right.shape[1:])


def _scale(roles: Roles, alpha: float | None) -> float:
    factored = next((name for name in ("w2", "w1") if name not in roles), None)
    return 1.0 if factored is None or alpha is None else alpha / roles[f"{factored}_b"].shape[0]


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
        linear=("w1", "w1_a"),
        alpha_beside=("w2_b", "w1_b"),
        add=add,
    )
)
