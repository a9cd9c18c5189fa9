"""Update -> tensors: a module's numbers in the output's spelling and dtype."""

from __future__ import annotations

from math import copysign, isfinite
from typing import NamedTuple

from ..adapters.adapter import finite
from ..algebra.update import Dense, Update
from ..deferred import Tensor, torch
from ..errors import FileError, SettingError, located
from ..reading.module import Module
from .layout import Target


class Encoded(NamedTuple):
    """The tensors of a module, and the Frobenius norm of what their rounding changed in it."""

    tensors: dict[str, Tensor]
    error: float


def encode(update: Update, target: Target, dtype: torch.dtype, source: Module | None) -> Encoded:
    """The tensors that say `update` under the target's name.

    LowRank becomes up and down factors with the kernel put back on `down`, and alpha = rank where
    the spelling has one; Dense becomes a difference with the suffix of its source. Raises LoraError
    where fp16 cannot hold an entry, and for a difference where the reader takes LoRA only.
    """
    if target.name.swapped:
        update = update.rolled()
    raw, style = target.raw, target.spelling
    if isinstance(update, Dense):
        suffix = style.bias
        if target.parameter != "bias":
            stored = source.adapter.suffixes if source and not source.baked else {}
            suffix = stored.get("values", ".diff")
            if style.lora_only:
                kind = source.adapter.kind.name if source else "difference"
                raise SettingError(
                    f"is a {kind} of full rank, and {style.name} takes LoRA only",
                    fix="resize it to a rank first, choose another spelling, or leave it out with "
                    "the layers selector",
                )
        values = cast(update.values, dtype, raw + suffix)
        moved = values.to(update.values) - update.values
        return Encoded({raw + suffix: values}, float(torch.linalg.vector_norm(moved.double())))
    up = cast(update.up, dtype, raw + style.up)
    down = cast(update.down, dtype, raw + style.down)
    error = update.rounding(up, down) if dtype != update.dtype else 0.0
    kernel = update.shape[2:]
    result = {
        raw + style.down: down.reshape(update.rank, *update.shape[1:]),
        raw + style.up: up.reshape(update.shape[0], update.rank, *(1 for _ in kernel)),
    }
    if style.alpha:
        result[raw + ".alpha"] = torch.tensor(float(update.rank))
    return Encoded(result, error)


def cast(tensor: Tensor, dtype: torch.dtype, key: str) -> Tensor:
    """The tensor in the output dtype, on the CPU. Raises LoraError where it is NaN or Inf then."""
    result = tensor.to(dtype).cpu()
    if not finite(result):
        largest = float(tensor.double().abs().max())
        if isfinite(largest):
            name = str(dtype).removeprefix("torch.")
            raise SettingError(
                f"has an entry of {largest:.3g}, too large for {name}",
                fix="write bf16 or fp32 instead",
                tensor=key,
            )
        raise FileError(
            "contains NaN or Inf",
            fix="leave the layer out with the layers selector, or choose smaller weights",
            tensor=key,
        )
    return result


def stored_tensors(
    module: Module, raw: str, dtype: torch.dtype | None, weight: float = 1.0
) -> dict[str, Tensor]:
    """A module's tensors as they stand, renamed to `raw`; factors cast where `dtype` is given.

    With a weight the update is that many times as large: one factor takes the sign, and alpha the
    rest, where it counts, for that rounds nothing. (Not the sign: readers that share alpha / rank
    between both factors by halving never end below zero.)
    """
    adapter = module.adapter
    scaled = next((role for role in adapter.kind.linear if role in adapter.keys), "")
    on_factor, on_alpha = weight, 1.0
    if "alpha" in adapter.keys and weight != 0.0 and adapter.alpha_counts:
        on_factor, on_alpha = copysign(1.0, weight), abs(weight)
    result = {}
    with located(file=module.tensors.name, module=module.canonical):
        for role, key in adapter.keys.items():
            tensor = module.tensors[key]
            new = raw + adapter.suffixes.get(role, ".alpha")
            if role == "alpha":
                result[new] = tensor if on_alpha == 1.0 else tensor.float() * on_alpha
                continue
            to = tensor.dtype if dtype is None or not tensor.is_floating_point() else dtype
            if role == scaled and on_factor != 1.0:
                tensor = tensor.double() * on_factor
            result[new] = cast(tensor, to, key)
    return result
