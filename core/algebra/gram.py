"""Gram matrices of tall factors, and the k x k matrices that stand for the factors.

In float32 such a matrix is the Cholesky factor of a Gram matrix whose error is watched, at a third
of the time of a QR; in float64 it comes from QR.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..deferred import Tensor, torch
from . import lapack
from .precision import FEW, LARGE, SMALL, ordinary

# How much a float32 Gram matrix may move the relative size of any direction.
GRAM_TOLERANCE = 2e-4


def lengths(columns: Tensor) -> Tensor:
    """The lengths of the columns, on the CPU in float64, also of those whose squares overflow."""
    norms: Tensor = torch.linalg.vector_norm(columns, dim=0)
    if not columns.numel():
        return norms.cpu().double()
    low, high = map(float, torch.aminmax(norms))
    if low > SMALL and high < LARGE:
        return norms.cpu().double()
    largest = columns.abs().amax(0)
    units = torch.where(largest > 0, largest, 1.0)
    norms = torch.linalg.vector_norm(columns / units, dim=0)
    return norms.cpu().double() * units.cpu().double()


def length(numbers: Tensor) -> float:
    """The length of all of these numbers as one vector."""
    return float(lengths(numbers.reshape(-1, 1)))


def uses_qr(factor: Tensor) -> bool:
    """Where float64 is what the factor has (a Gram matrix needs more) or what the device lacks."""
    return factor.dtype == torch.float64 or factor.device.type == "mps"


def triangles(factors: Sequence[Tensor], precise: bool = False) -> list[Tensor]:
    """For each tall [n, k] an R [k, k] on the CPU with R^T R = tall^T tall, and so as long columns.

    Rounding of relative size e in a Gram matrix changes the length of any combination of columns
    by up to e * trace(G^-1), G the Gram matrix of unit columns. Float32 products serve where that
    stays below GRAM_TOLERANCE (never if `precise`), float64 products where a Cholesky factor exists
    at all.
    """
    if uses_qr(factors[0]):
        return [torch.linalg.qr(tall, mode="r").R.cpu() for tall in factors]
    dtype = torch.float64 if precise else torch.float32
    grams = torch.stack([gram_matrix(tall, dtype) for tall in factors]).cpu()
    # Of unit columns, so that short ones keep their digits beside long ones.
    scale = grams.diagonal(dim1=1, dim2=2).sqrt()
    units = torch.where(scale > 0, scale, 1.0)
    grams = grams / units[:, None] / units[:, :, None]
    r, info = torch.linalg.cholesky_ex(grams, upper=True)
    if precise:
        serves = info == 0
    else:
        inverse = torch.linalg.solve_triangular(r, torch.eye(r.shape[1]).to(r), upper=True)
        moved = torch.finfo(dtype).eps * inverse.square().sum((1, 2))
        # A square that float32 cannot hold is missing, or Inf: of that nothing is below any limit.
        serves = (info == 0) & (moved < GRAM_TOLERANCE) & (scale > SMALL).all(1)
    result = list((r * scale[:, None]).unbind())
    for index, good in enumerate(serves.tolist()):
        if not good and not precise:
            result[index] = triangles(factors[index : index + 1], precise=True)[0]
        elif not good:
            # Dependent columns: the symmetric root of the Gram matrix serves as well.
            values, vectors = lapack.eigh(grams[index])
            result[index] = values.clamp_min(0).sqrt()[:, None] * vectors.T * scale[index]
    return result


# Rows in a block (in elements), columns of a strip, blocks in a batch.
GRAM_ELEMENTS, GRAM_STRIP, GRAM_BATCH = 1 << 17, 64, 8


def gram_matrix(tall: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """tall^T tall [k, k] in float64 for tall [n, k], its products taken in `dtype` (float64).

    In blocks of rows that stay in cache, added in float64, so that float32 rounding stays small; a
    few blocks at a time, so that no float64 copy of the factor exists. Only strips of the upper
    triangle are computed: the rest is their mirror image.
    """
    n, k = tall.shape
    count = max(1, -(-n * k // GRAM_ELEMENTS))
    rows = n // count
    whole = tall[: count * rows].view(count, rows, k)
    parts = [whole[i : i + GRAM_BATCH] for i in range(0, count, GRAM_BATCH)]
    if count * rows < n:
        parts.append(tall[None, count * rows :])
    gram = torch.zeros(k, k, dtype=torch.float64, device=tall.device)
    for part in parts:
        blocks = part.to(dtype or torch.float64)
        for start in range(0, k, GRAM_STRIP):
            stop = start + GRAM_STRIP
            products = blocks[:, :, start:stop].mT @ blocks[:, :, start:]
            gram[start:stop, start:] += products.sum(0, dtype=torch.float64)
    for start in range(GRAM_STRIP, k, GRAM_STRIP):
        stop = start + GRAM_STRIP
        gram[start:stop, :start] = gram[:start, start:stop].T
    return gram


def squares_of_product(up: Tensor, down: Tensor) -> tuple[float, float] | None:
    """||up @ down||^2 of [out, k] and [k, in], and what it would be if the k terms were orthogonal.

    To some roundings of float32, from float32 products, at a quarter of the time of float64 ones.
    None where these would say too little: terms cancel, numbers are extreme, factors are float64.
    """
    if up.dtype != torch.float32:
        return None
    grams = [up.T @ up, down @ down.T]
    squares = torch.stack([gram.diagonal() for gram in grams])
    square, alone = float((grams[0].double() * grams[1]).sum()), float(squares.prod(0).sum())
    if not alone < FEW * square:
        return None
    sizes = torch.where(squares > 0, squares, 1.0).sqrt()
    # A square of zero may be one that float32 cannot hold.
    none = squares == 0
    lost = bool(none.any()) and bool(up[:, none[0]].any() or down[none[1]].any())
    return None if lost or not (ordinary(sizes) and ordinary(1 / sizes)) else (square, alone)
