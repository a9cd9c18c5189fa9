"""Updates that are the Kronecker product of two small matrices.

Its singular values are the products of both matrices' singular values, its singular vectors the
Kronecker products of theirs (Horn and Johnson, Topics in Matrix Analysis, 4.2.15): milliseconds
instead of most of a minute. Norms and inner products are products, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..deferred import Tensor, torch
from . import lapack
from .decomposition import Svd
from .low_rank import LowRank
from .update import Lazy, Update


class Kronecker(Lazy):
    """kron(first, second) of two matrices, as the update of a weight of some shape."""

    def __init__(
        self,
        first: Tensor,
        second: Tensor,
        shape: tuple[int, ...],
        thin: Callable[[], LowRank] | None = None,
    ) -> None:
        self.__dict__.update(first=first, second=second, weight_shape=shape, thin=thin)

    first: Tensor
    second: Tensor

    def rows_of_matrix(self, start: int, stop: int) -> Tensor:
        height = len(self.second)
        above = start // height
        first = self.first[above : -(-stop // height)]
        return kron(first, self.second)[start - above * height : stop - above * height]

    def scaled(self, weight: float) -> Kronecker:
        if weight == 1.0:
            return self
        thin = self.thin
        scaled = None if thin is None else lambda: thin().scaled(weight)
        return Kronecker(self.first * weight, self.second, self.shape, scaled)

    def reshaped(self, shape: tuple[int, ...]) -> Kronecker:
        thin = self.thin
        reshaped = None if thin is None else lambda: thin().reshaped(shape)
        return Kronecker(self.first, self.second, shape, reshaped)

    def sum_of_entries(self) -> float:
        first, second = (float(m.sum(dtype=torch.float64)) for m in (self.first, self.second))
        return first * second

    def singular_values(self) -> Tensor:
        """All of them: float64, on the CPU, descending."""
        one, other = (lapack.svdvals(m.cpu().double()) for m in (self.first, self.second))
        return torch.outer(one, other).flatten().sort(descending=True).values

    def frobenius_norm(self) -> float:
        """||kron(A, B)|| = ||A|| ||B||."""
        first, second = (torch.linalg.vector_norm(m.double()) for m in (self.first, self.second))
        return float(first * second)

    def distance(self, other: Update) -> float:
        """||kron(A, B) - kron(C, D)||^2 = |A|^2 |B|^2 - 2 <A, C> <B, D> + |C|^2 |D|^2.

        Written with A - C and B - D, which loses no digits: kron(A - C, B) + kron(C, B - D).
        """
        if not isinstance(other, Kronecker) or other.first.shape != self.first.shape:
            return super().distance(other)
        a, b, c, d = (m.double() for m in (self.first, self.second, other.first, other.second))
        p, q = a - c, b - d
        square = p.square().sum() * b.square().sum() + c.square().sum() * q.square().sum()
        square += 2 * (p * c).sum() * (b * q).sum()
        return float(square.clamp_min(0).sqrt())

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
        known = Svd(values.double().cpu(), scale, scale, float(noise))
        return replace(LowRank.of(up, down, self.shape), known=known)


def kron(one: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product of two matrices; torch.kron fails on some that are transposed."""
    product = one[:, None, :, None] * other[None, :, None, :]
    return product.reshape(len(one) * len(other), one.shape[1] * other.shape[1])
