"""What each input adds to a module, and how large these parts are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..algebra import lapack
from ..algebra.low_rank import LowRank
from ..algebra.update import Update, inner, total
from ..deferred import torch
from ..running.layout import Target


def by_input(
    target: Target, updates: Sequence[Update], weights: Sequence[float]
) -> tuple[list[Update], list[float]]:
    """What each input that counts in a module adds to it, and its weight."""
    parts: dict[int, list[Update]] = {}
    weight_of: dict[int, float] = {}
    for contribution, update, weight in zip(target.contributions, updates, weights, strict=True):
        parts.setdefault(contribution.input, []).append(update)
        weight_of[contribution.input] = weight
    return [total(terms) for terms in parts.values()], list(weight_of.values())


def sizes_of(updates: Sequence[Update], weights: Sequence[float]) -> list[float]:
    """The Frobenius norms of w_i dW_i."""
    pairs = zip(updates, weights, strict=True)
    return [abs(weight) * update.frobenius_norm() for update, weight in pairs]


def sums_of(target: Target, updates: Iterable[Update], count: int) -> list[Update | None]:
    """What each of `count` inputs adds to a module, None where it lacks it."""
    parts: list[list[Update]] = [[] for _ in range(count)]
    for contribution, update in zip(target.contributions, updates, strict=True):
        parts[contribution.input].append(update)
    return [total(terms) if terms else None for terms in parts]


def gram_of(updates: Sequence[Update | None]) -> torch.Tensor:
    """The inner products [n, n] of n updates of one weight, in float64; zeros where one is None."""
    gram = torch.zeros(len(updates), len(updates), dtype=torch.float64)
    for i, one in enumerate(updates):
        for j, other in enumerate(updates[: i + 1]):
            if one is not None and other is not None:
                gram[i, j] = gram[j, i] = inner(one, other)
    return gram


def spectral_norm(update: Update) -> float:
    if isinstance(update, LowRank):
        return update.spectral_norm()
    if len(update.shape) < 2 or not update.values.numel():
        return float(torch.linalg.vector_norm(update.values))
    return float(lapack.svdvals(update.values.flatten(1))[0])
