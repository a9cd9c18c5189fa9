"""Tensors that are neither in a file nor in memory, but can be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..deferred import Tensor
from .dtypes import TensorInfo
from .files import Tensors


class LazyTensors(Tensors):
    """Tensors that a function makes one at a time, when they are asked for.

    `like` has a tensor of the same dtype and shape for every key, of which no number counts; `read`
    makes the tensor of a key, on whichever device. `name` is what messages call them.

    >>> import torch
    >>> like = {"double_blocks.0.img_attn.proj.weight": torch.empty(64, 64, device="meta")}
    >>> base = core.BaseModel(core.LazyTensors("mine", like, lambda key: torch.zeros(64, 64)))
    >>> base.name, len(base.weights)
    ('mine', 1)
    """

    def __init__(
        self, name: str, like: Mapping[str, Tensor], read: Callable[[str], Tensor]
    ) -> None:
        super().__init__(name, None, {key: TensorInfo.of(one) for key, one in like.items()}, {})
        self.read = read

    def __getitem__(self, key: str) -> Tensor:
        return self.read(key)
