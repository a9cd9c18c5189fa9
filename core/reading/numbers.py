"""The numbers of a stored weight: whatever it is kept as, what the model computes with."""

from __future__ import annotations

from collections.abc import Mapping

from ..deferred import Tensor, torch
from ..errors import FileError
from ..storage.dtypes import TensorInfo
from ..storage.files import Tensors

# Beside a weight in fp8: what its numbers are multiplied by, of ComfyUI's two ways to store it.
SCALES = (".scale_weight", ".weight_scale")
SCALED = "scaled_fp8"
# Keys of forms of quantising that have no plain numbers, and what to call them.
QUANTISED = {
    ".qweight": "in whole numbers of 4 bits (SVDQuant, GPTQ, AWQ)",
    ".weight.absmax": "with bitsandbytes",
    ".weight_scale_2": "as NVFP4",
}
FULL = "use the model's file in fp16, bf16 or fp8"


def check_plain(tensors: Tensors) -> None:
    """Raises FileError for a model whose weights are quantised in a way that is not read."""
    for key in tensors.info:
        for ending, how in QUANTISED.items():
            if key.endswith(ending):
                raise FileError(f"is quantised {how}, and not read", FULL, file=tensors.name)


def scale_key(info: Mapping[str, TensorInfo], key: str) -> str | None:
    """The key of the scale that belongs to a weight, where there is one."""
    module, dot, parameter = key.rpartition(".")
    if not dot or parameter != "weight":
        return None
    return next((module + ending for ending in SCALES if module + ending in info), None)


def plain(tensors: Tensors, key: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A weight as plain numbers on `device` in `dtype`.

    Raises FileError for whole numbers, and for fp8 whose scale is missing where others have one.
    """
    name = tensors.info[key].dtype_name
    if not tensors.info[key].floating:
        raise FileError(f"is {name}: quantised, and not read", FULL, file=tensors.name, tensor=key)
    values = tensors[key].to(device).to(dtype)
    if not name.startswith("float8"):
        return values
    scale = scale_key(tensors.info, key)
    if scale is not None:
        return values * column(tensors[scale].to(values), values)
    if SCALED in tensors.info and values.ndim > 1:
        raise FileError(
            "is scaled fp8 without its scale (scale_weight)",
            fix="download the file again, or use the model in fp16 or bf16",
            file=tensors.name,
            tensor=key,
        )
    return values


def column(scale: Tensor, values: Tensor) -> Tensor:
    """A scale for the whole weight, or one for each of its rows, as it multiplies the weight."""
    if scale.numel() == 1:
        return scale.reshape(())
    return scale.reshape(-1, *(1,) * (values.ndim - 1))


def stored_as(values: Tensor, key: str, tensors: Tensors) -> dict[str, Tensor]:
    """Numbers as a weight of this key is stored: in its dtype, with its scale beside it.

    The scale stays unless the numbers have outgrown it. Raises FileError where one is too large.
    """
    info = tensors.info[key]
    values = values.reshape(info.shape).cpu()
    scale = scale_key(tensors.info, key) if info.dtype_name.startswith("float8") else None
    most = torch.finfo(info.dtype).max
    if scale is not None:
        stored = tensors[scale]
        largest = values.abs().flatten(1).amax(1) if stored.numel() > 1 else values.abs().max()
        grown = torch.maximum(stored.float(), (largest / most).reshape(stored.shape))
        values = values / column(grown.to(stored.dtype).to(values), values)
        return {key: values.clamp(-most, most).to(info.dtype), scale: grown.to(stored.dtype)}
    if info.dtype_name.startswith("float8"):
        values = values.clamp(-most, most)  # Of these, what is beyond is NaN.
    result = values.to(info.dtype)
    if not torch.isfinite(result.float()).all():
        raise FileError(
            f"would hold a number that is too large for {info.dtype_name}",
            fix="choose smaller weights, or a model in bf16",
            file=tensors.name,
            tensor=key,
        )
    return {key: result}
