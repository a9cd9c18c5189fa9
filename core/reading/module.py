"""One adapted weight or bias of a file."""

from __future__ import annotations

from dataclasses import dataclass

from ..adapters.adapter import Adapter, stored_scalar
from ..adapters.kind import Dimensions
from ..algebra.cached import cached_property
from ..algebra.update import Update
from ..deferred import Tensor, torch
from ..errors import FileError, located
from ..naming.family import UNKNOWN, Family
from ..naming.spelling import ModuleName
from ..storage.dtypes import TensorInfo
from ..storage.files import Tensors
from .base_model import BaseModel
from .readers import COMFYUI, finds


@dataclass(frozen=True)
class Module:
    """One adapted weight or bias of one file; its tensors are read when asked for.

    `name` says which weight of the `family` it is, `raw` how the file spells it, `parameter`
    whether weight or bias. `adapter` knows its `tensors`; `scale` is a factor on what these say.
    `base` has the weight itself, where that is at hand.

    >>> import torch
    >>> module = core.Lora(core.samples()[0]).modules["double_blocks.0.img_attn.proj"]
    >>> module.rank, module.update(torch.device("cpu"), torch.float32).shape
    (8, (64, 64))
    """

    name: ModuleName
    raw: str
    parameter: str
    adapter: Adapter
    tensors: Tensors
    scale: float = 1.0
    family: Family = UNKNOWN
    base: BaseModel | None = None

    @property
    def baked(self) -> bool:
        """Whether its meaning depends on the base weight, which is at hand."""
        return self.base is not None and self.adapter.kind.on_base is not None

    @property
    def known(self) -> bool:
        """Whether its update can be told."""
        return self.adapter.kind.update is not None or self.baked

    @property
    def canonical(self) -> str:
        suffix = ".bias" if self.parameter == "bias" else ""
        return self.name.canonical + suffix

    @property
    def identity(self) -> tuple[str, str]:
        """Equal for the weights (whole, not parts) that two files have in common."""
        # Underscores for dots: in families without a table, kohya names have lost the difference.
        return self.name.weight.replace(".", "_"), self.parameter

    @property
    def place(self) -> tuple[tuple[str, str], int, int, bool]:
        """Equal for modules of one file of which ComfyUI keeps only one."""
        return self.identity, self.name.first, self.name.last, self.name.swapped

    @property
    def stored(self) -> dict[str, Tensor]:
        """Every tensor of the module as it stands in the file."""
        return {key: self.tensors[key] for key in self.adapter.keys.values()}

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the stored factors, of the first one."""
        return self.info.dtype

    @property
    def info(self) -> TensorInfo:
        """What the header says of the first factor, up where there is one."""
        keys = self.adapter.keys
        key = keys.get("up") or next(key for role, key in keys.items() if role != "alpha")
        return self.tensors.info[key]

    @property
    def bytes(self) -> int:
        return sum(self.tensors.info[key].bytes for key in self.adapter.keys.values())

    @cached_property
    def dimensions(self) -> Dimensions:
        """What the shapes alone tell."""
        found = self.adapter.dimensions(self.tensors.info)
        if self.baked and self.base and (shape := self.base.shape(self.name, self.parameter)):
            found = found._replace(shape=shape)
        return found

    @property
    def rank(self) -> int | None:
        """The stored rank, or what the rank of the update is at most; None for kinds without."""
        return self.dimensions.rank

    @property
    def alpha(self) -> float | None:
        key = self.adapter.keys.get("alpha")
        with located(file=self.tensors.name, module=self.canonical):
            return None if key is None else stored_scalar(self.tensors, key)

    @property
    def out_features(self) -> int:
        """The number of rows of the update, from the shapes alone; 0 where they do not tell."""
        return self.dimensions.shape[0] if self.dimensions.shape else 0

    @property
    def in_features(self) -> int:
        return self.dimensions.shape[1] if len(self.dimensions.shape) > 1 else 0

    def found_by(self, reader: str) -> bool:
        """Whether a program, one of READERS, finds it under its name."""
        return finds(reader, self.raw, self.family, self.adapter)

    @property
    def unread(self) -> bool:
        """Whether ComfyUI does not find it."""
        return not self.found_by(COMFYUI)

    def update(
        self,
        device: torch.device,
        dtype: torch.dtype,
        lazy: bool = False,
        weight: Tensor | None = None,
    ) -> Update:
        """dW (or the change of the bias) at strength 1, rows in the canonical order.

        `lazy` as in `Adapter.update`. `weight` is what kinds that need it change, None for that of
        the base model. Raises FileError naming file, module and tensor where the stored numbers are
        no update.
        """
        kind = self.adapter.kind
        with located(file=self.tensors.name, module=self.canonical):
            if not self.known and (weight is None or kind.on_base is None):
                ways = ["bake it with the base model first (base)", kind.way_out]
                ways.append("leave it out with the layers selector")
                article = "an" if kind.name[0] in "AEIOU" else "a"
                raise FileError(
                    f"is {article} {kind.name}, and {kind.needs_base}",
                    fix=", or ".join(filter(None, ways)),
                )
            if self.baked and weight is None and self.base is not None:
                weight = self.base.weight(self.name, self.parameter, device, dtype)
            if weight is not None and self.name.swapped:
                weight = weight.roll(len(weight) // 2, 0)
            read = self.tensors.__getitem__
            update = self.adapter.update(read, device, dtype, lazy, weight)
            shape = self.family.kernel(self.name.native, update.shape)
            update = update if shape == update.shape else update.reshaped(shape)
            # Diffusers keeps (scale, shift) where the models have (shift, scale).
            return (update.rolled() if self.name.swapped else update).scaled(self.scale)
