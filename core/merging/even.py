"""Even strength: several LoRAs of which none drowns the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

from ..deferred import Tensor, torch
from ..errors import SettingError


@dataclass(frozen=True)
class Even:
    """Every input has the same size (Frobenius norm), and the result that of the plain sum.

    In every layer, or with one factor for each file where `whole_file`. `strength` says how far: 0
    is the plain sum, 1 evens out completely, 0.5 turns 100 : 1 into 10 : 1. Raises SettingError for
    a strength outside of 0 to 1.

    >>> settings = core.Blend(balance=core.Even(strength=0.5))
    """

    whole_file: bool = False
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise SettingError(
                f"balance strength {self.strength:g} lies outside 0 to 1",
                fix="0 is the plain sum, 1 evens out completely",
            )

    def __str__(self) -> str:
        return f"{'even-file' if self.whole_file else 'even'}(strength={self.strength:g})"


def multipliers(gram: Tensor, weights: Sequence[float], strength: float) -> list[float]:
    """What to multiply the weights of n updates with, given their inner products [n, n].

    With sizes n_i = |w_i| ||dW_i|| of geometric mean g, the parts become n_i (g / n_i)^strength
    and then share one factor, so that the sum is as large as the plain one: ||sum w_i dW_i||^2 =
    w^T G w. An update that is zero, or alone, keeps its weight.
    """
    w = torch.tensor(weights, dtype=torch.float64)
    sizes = (w.abs() * gram.diagonal().clamp_min(0).sqrt()).tolist()
    there = [size for size in sizes if size > 0]
    if len(there) < 2:
        return [1.0] * len(sizes)
    mean = exp(sum(map(log, there)) / len(there))
    found = [(mean / size) ** strength if size > 0 else 1.0 for size in sizes]
    evened = w * torch.tensor(found, dtype=torch.float64)
    before, after = (sqrt(max(float(v @ gram @ v), 0.0)) for v in (w, evened))
    common = before / after if after > 0 else 1.0
    return [common * factor for factor in found]
