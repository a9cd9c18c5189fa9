"""What a header says of a tensor, and single numbers: all that is known without torch."""

from __future__ import annotations

import re
import struct
from math import prod
from typing import NamedTuple

from ..deferred import Tensor, torch

# safetensors' name of a dtype -> torch's
STORED_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
DTYPE_NAMES = {name: stored for stored, name in STORED_DTYPES.items()}
# The `struct` codes of single numbers.
CODES = {
    **{"float64": "d", "float32": "f", "float16": "e", "bfloat16": "f"},
    **{"int64": "q", "int32": "i", "int16": "h", "int8": "b", "uint8": "B"},
}


class TensorInfo(NamedTuple):
    """What a header says of a tensor, its dtype by torch's name: `float16`."""

    dtype_name: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> TensorInfo:
        return cls(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = getattr(torch, self.dtype_name)
        return found

    @property
    def floating(self) -> bool:
        return "float" in self.dtype_name

    @property
    def item_bytes(self) -> int:
        bits = re.search(r"\d+", self.dtype_name)
        return int(bits[0]) // 8 if bits else 1

    @property
    def bytes(self) -> int:
        return self.item_bytes * prod(self.shape)


def number_of(data: bytes | bytearray, dtype_name: str) -> float:
    """The number that these bytes of a file are, of one of the dtypes in CODES."""
    if dtype_name == "bfloat16":
        data = b"\0\0" + bytes(data)  # It is the upper half of a float32.
    (value,) = struct.unpack("<" + CODES[dtype_name], data)
    return float(value)
