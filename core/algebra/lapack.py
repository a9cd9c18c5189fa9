"""Decompositions that do not give up when a fast routine of LAPACK or cuSOLVER fails to converge.

Divide and conquer (gesdd, syevd) fails on rare matrices that other ways decompose: in float64 on
the CPU, or through another routine. Raises torch.linalg.LinAlgError when all of them fail, at once
where a matrix has NaN or Inf.
"""

from __future__ import annotations

from collections.abc import Callable

from ..deferred import Tensor, torch

Parts = tuple[Tensor, ...]


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U [m, k], S [k] descending, V^T [k, n] of a matrix [m, n], k = min(m, n)."""
    u, values, vh = _first_that_works(matrix, _svd, _svd_by_eigenvectors)
    return u, values, vh


def svdvals(matrix: Tensor) -> Tensor:
    """S [min(m, n)] descending of a matrix [m, n]."""
    return _first_that_works(
        matrix, lambda m: (torch.linalg.svdvals(m),), lambda m: (_svd_by_eigenvectors(m)[1],)
    )[0]


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [k], none of them negative, and eigenvectors [k, k] of a symmetric matrix."""
    values, vectors = _first_that_works(
        matrix, lambda m: tuple(torch.linalg.eigh(m)), lambda m: _svd(m)[1::-1]
    )
    return values, vectors


def _first_that_works(
    matrix: Tensor, fast: Callable[[Tensor], Parts], other: Callable[[Tensor], Parts]
) -> Parts:
    try:
        return fast(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        if not torch.isfinite(matrix).all():
            raise
    precise = matrix.to("cpu", torch.float64)
    try:
        parts = fast(precise)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        parts = other(precise)
    return tuple(part.to(matrix) for part in parts)


def _svd(matrix: Tensor) -> Parts:
    return tuple(torch.linalg.svd(matrix, full_matrices=False))


def _svd_by_eigenvectors(matrix: Tensor) -> Parts:
    """Through A A^T = U S^2 U^T, or A^T A if that is smaller: values below 1e-8 S[0] are noise."""
    if matrix.shape[0] > matrix.shape[1]:
        u, values, vh = _svd_by_eigenvectors(matrix.T)
        return vh.T, values, u.T
    u = torch.linalg.eigh(matrix @ matrix.T).eigenvectors
    # The squares of small values are rounded away; the lengths of these rows are not.
    rows = u.T @ matrix
    values, order = torch.linalg.vector_norm(rows, dim=1).sort(descending=True)
    lengths = torch.where(values > 0, values, 1.0)
    return u[:, order], values, rows[order] / lengths[:, None]
