"""Exact singular value decomposition of an update from its thin factors.

With up = Qu Ru and down^T = Qd Rd (Q orthonormal, R k x k),

    dW = Qu (Ru Rd^T) Qd^T,   and with Ru Rd^T = U S V^T:
    (Qu U) S = up (Rd^T V),   S (Qd V)^T = (U^T Ru) down.

So neither Q nor the inverse of an R is ever formed: the singular directions times S are the old
factors times a k x k matrix. R is any matrix with R^T R = the Gram matrix of its factor (`gram`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..deferred import Tensor
from . import lapack
from .gram import length, lengths, triangles, uses_qr
from .precision import eps


class Svd(NamedTuple):
    """The singular value decomposition of an update, in coordinates of its thin factors.

    `values` [n] float64, descending, those above rounding noise only. `left` [k, n] and `right`
    [n, k] are such that up @ left = U S and right @ down = S V^T. All three are on the CPU. `noise`
    is the size of the rounding in the values.
    """

    values: Tensor
    left: Tensor
    right: Tensor
    noise: float


@dataclass(frozen=True)
class Core:
    """The k x k matrices r_up [k, k] and r_down [k, k] of an update's thin factors, on the CPU.

    A GPU is slow at float64 and at small decompositions, and waits for each of their results.
    `noise` is the size of what is not part of the update.
    """

    r_up: Tensor
    r_down: Tensor
    noise: float

    @classmethod
    def of(cls, up: Tensor, down: Tensor, size: float | None, precise: bool) -> Core:
        """Of factors [out, k] and [k, in]; `precise` takes no float32 Gram matrices.

        What is below the rounding of the terms is not part of the update. A term is as large as its
        two columns together, however trainers share that between up and down. `size` is that of all
        terms where the factors are no longer those.
        """
        r_up, r_down = triangles((up, down.T), precise)
        if size is None:
            size = length(lengths(r_up) * lengths(r_down))
        rounding = eps(up.dtype) * (8 if uses_qr(up) else 1)
        return cls(r_up, r_down, rounding * size)

    @property
    def matrix(self) -> Tensor:
        """Ru Rd^T [k, k]: its singular values are those of dW."""
        return self.r_up @ self.r_down.T

    @property
    def values(self) -> Tensor:
        """The singular values alone, as `Svd.values`, in less than half the time."""
        values = lapack.svdvals(self.matrix)
        return values[: self._above_noise(values)].double()

    @property
    def svd(self) -> Svd:
        """The exact decomposition, as the text of this file says."""
        u, values, vh = lapack.svd(self.matrix)
        kept = self._above_noise(values)
        left, right = self.r_down.T @ vh[:kept].T, u[:, :kept].T @ self.r_up
        return Svd(values[:kept].double(), left, right, self.noise)

    def _above_noise(self, values: Tensor) -> int:
        return int((values > self.noise).sum())
