"""Update -> tensors: a module's numbers in the output's spelling and dtype."""

from math import isfinite

import torch
from torch import Tensor

from ..adapters.adapter import finite
from ..algebra.low_rank import Dense, Update
from ..errors import FileError, SettingError, located
from ..reading.lora import Module
from .layout import Target


def encode(
    update: Update, target: Target, dtype: torch.dtype, source: Module | None
) -> dict[str, Tensor]:
    """The tensors that say `update` under the target's name.

    LowRank becomes up and down factors with the kernel put back on `down`, and alpha = rank where
    the spelling has one; Dense becomes a difference with the suffix of its source. Raises LoraError
    where fp16 cannot hold an entry.
    """
    if target.name.swapped:
        update = update.rolled()
    raw, style = target.raw, target.spelling
    if isinstance(update, Dense):
        standard = ".diff_b" if target.parameter == "bias" else ".diff"
        suffix = source.adapter.suffixes.get("values", standard) if source else standard
        return {raw + suffix: cast(update.values, dtype, raw + suffix)}
    kernel = update.shape[2:]
    up = update.up.reshape(update.shape[0], update.rank, *(1 for _ in kernel))
    down = update.down.reshape(update.rank, *update.shape[1:])
    result = {
        raw + style.down: cast(down, dtype, raw + style.down),
        raw + style.up: cast(up, dtype, raw + style.up),
    }
    if style.alpha:
        result[raw + ".alpha"] = torch.tensor(float(update.rank))
    return result


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


def too_faint(tensor: Tensor) -> bool:
    """Whether most of an fp16 tensor is so small that rounding moves it by a percent or more."""
    if tensor.dtype != torch.float16:
        return False
    sizes = tensor[tensor != 0].abs()
    return bool((sizes < 3e-6).float().mean() > 0.5)


def stored_tensors(module: Module, raw: str, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """A module's tensors as they stand, renamed to `raw`; factors cast where `dtype` is given."""
    result = {}
    with located(file=module.tensors.name, module=module.canonical):
        for role, key in module.adapter.keys.items():
            tensor = module.tensors[key]
            new = raw + module.adapter.suffixes.get(role, ".alpha")
            fixed = role == "alpha" or not tensor.is_floating_point()
            result[new] = cast(tensor, tensor.dtype if fixed or dtype is None else dtype, key)
    return result
