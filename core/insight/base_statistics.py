"""What an update is beside the weight that it changes: how large, where, and how it turns it."""

from __future__ import annotations

from math import acos, degrees, sqrt

from ..algebra import lapack
from ..algebra.gram import length
from ..algebra.low_rank import LowRank
from ..algebra.sketch import sketched
from ..algebra.update import Dense, Update
from ..deferred import Tensor
from ..reading.base_model import BaseModel
from ..reading.module import Module
from ..running.stream import Compute

RELATIVE_NORM = "relative_norm"
BASE_COLUMNS = (RELATIVE_NORM, "relative_spectral_norm", "base_share", "output_angle")
INTRUDERS = "intruders"
# How many of the base's strongest directions are its top: as many as a LoRA has ranks.
TOP = 32
# Of so many leading directions of W + dW those are intruders that are as unlike each of W's as that
# (Shuttleworth et al. 2024).
LEADING, UNLIKE = 10, 0.6


def norm_beside_base(module: Module, base: BaseModel, norm: float, compute: Compute) -> float:
    """|dW| / |W| in the Frobenius norm. For white input it is how far the layer's output moves,
    relative to its size: E|dW x|^2 / E|W x|^2 = |dW|^2 / |W|^2."""
    weight = base.weight(module.name, module.parameter, compute.device, compute.dtype)
    return norm / (length(weight) or 1.0)


def beside_base(
    module: Module, update: Update, norms: tuple[float, float], intruders: bool, compute: Compute
) -> dict[str, float]:
    """The columns of a module whose base is at hand; `norms` are Frobenius and spectral.

    * `relative_norm`, `relative_spectral_norm`: both norms, divided by those of the weight;
    * `base_share`: the share of |dW|^2 between the TOP left and right directions of the weight;
    * `output_angle`: in degrees, between the output without and with it, for white input;
    * `intruders`: how many of the LEADING directions of the result are like none of the weight.
    """
    assert module.base is not None
    base = module.base.weight(module.name, module.parameter, compute.device, compute.dtype)
    size = length(base)
    if not size:
        return {}
    found = {RELATIVE_NORM: norms[0] / size}
    if base.ndim < 2:
        return found
    weight = base.flatten(1)
    top = sketched(weight, tuple(base.shape), lambda _: True, min(TOP, *weight.shape))
    leading = top.update.truncated(min(TOP, len(top.values)))
    root = top.values[: leading.rank].sqrt().to(leading.up)
    left, right = leading.up / root, (leading.down / root[:, None]).T
    if isinstance(update, LowRank):
        inside = (left.T @ update.up.to(left)) @ (update.down.to(left) @ right)
        together = float(((weight.T @ update.up.to(weight)) * update.down.T.to(weight)).sum())
    else:
        matrix = update.values.reshape(weight.shape).to(weight)
        inside = left.T @ matrix @ right
        together = float((weight * matrix).sum())
    found["relative_spectral_norm"] = norms[1] / float(top.values[0])
    found["base_share"] = (length(inside) / norms[0]) ** 2 if norms[0] else 0.0
    changed = sqrt(max(size**2 + 2 * together + norms[0] ** 2, 0.0))
    cosine = (size**2 + together) / (size * changed) if changed else 1.0
    found["output_angle"] = degrees(acos(min(max(cosine, -1.0), 1.0)))
    if intruders:
        found[INTRUDERS] = float(count_intruders(weight, update))
    return found


def count_intruders(weight: Tensor, update: Update) -> int:
    """How many of the LEADING left directions of W + dW are like none of W's."""
    dense = update.values if isinstance(update, Dense) else update.dense()
    before, _, _ = lapack.svd(weight)
    after, _, _ = lapack.svd(weight + dense.reshape(weight.shape).to(weight))
    likeness = (before.T @ after[:, :LEADING]).abs().amax(0)
    return int((likeness < UNLIKE).sum())
