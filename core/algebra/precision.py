"""How many digits a dtype has, and which numbers are beyond its range."""

from __future__ import annotations

from math import inf

from ..deferred import Tensor, torch

FEW = 4.0  # How many roundings of a dtype are few.
LEAST = 1e-250  # Smaller squares have lost digits in float64.
# Numbers whose squares and products stay far within the range of float32.
SMALL, LARGE = 1e-14, 1e14


def ordinary(numbers: Tensor) -> bool:
    """Whether the largest entry is neither huge nor tiny; so is nothing at all."""
    largest = float(torch.linalg.vector_norm(numbers, ord=inf)) if numbers.numel() else 0.0
    return SMALL < largest < LARGE or largest == 0.0


def wide_enough(dtype: torch.dtype, *scales: float) -> torch.dtype:
    """The dtype, or float64 where a factor that takes the scale could leave its range."""
    if all(SMALL < abs(scale) < LARGE or scale == 0.0 for scale in scales):
        return dtype
    return torch.float64


def eps(dtype: torch.dtype) -> float:
    """The relative precision of a floating-point dtype; 0.0 for whole numbers."""
    return torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
