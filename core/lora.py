"""A LoRA: ordered modules with their adapters, the other tensors, and the metadata."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .adapters import LORA, SUFFIX_PAIRS, Adapter, group, scalar
from .errors import LoraError
from .families import Family
from .files import Tensors, open_tensors
from .low_rank import Update
from .names import (
    ModuleName,
    Recognition,
    Spelling,
    recognise,
    resolve,
    spelling_name,
    split_prefix,
)

Source = str | os.PathLike[str] | Mapping[str, Tensor] | Tensors


@dataclass(frozen=True)
class Module:
    """One adapted weight or bias of one file; its tensors are read when asked for.

    `name` says which weight it is, `raw` how the file spells it.
    """

    name: ModuleName
    raw: str
    parameter: str
    adapter: Adapter
    tensors: Tensors

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
    def stored(self) -> dict[str, Tensor]:
        """Every tensor of the module as it stands in the file."""
        return {key: self.tensors[key] for key in self.adapter.keys.values()}

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the stored factors (of the first one, up where there is one)."""
        keys = self.adapter.keys
        key = keys.get("up") or next(key for role, key in keys.items() if role != "alpha")
        return self.tensors.info[key].dtype

    @property
    def bytes(self) -> int:
        return sum(self.tensors.info[key].bytes for key in self.adapter.keys.values())

    @property
    def rank(self) -> int | None:
        """The stored rank; None for kinds that have none."""
        key = self.adapter.keys.get("down")
        return self.tensors.info[key].shape[0] if key and self.adapter.kind is LORA else None

    @property
    def alpha(self) -> float | None:
        key = self.adapter.keys.get("alpha")
        return None if key is None else scalar(self.tensors[key], key)

    @property
    def out_features(self) -> int:
        """The number of rows of the update, from the shapes alone; 0 where they do not tell."""
        keys = self.adapter.keys
        key = keys.get("up") or keys.get("values")
        shape = self.tensors.info[key].shape if key else ()
        return shape[0] if shape else 0

    @property
    def in_features(self) -> int:
        keys = self.adapter.keys
        key = keys.get("down") or keys.get("values")
        shape = self.tensors.info[key].shape if key else ()
        return shape[1] if len(shape) > 1 else 0

    def update(self, device: torch.device, dtype: torch.dtype) -> Update:
        """dW (or the change of the bias) at strength 1, rows in the canonical order.

        Raises LoraError naming file, module and tensor where the stored numbers are no update.
        """
        try:
            if self.adapter.kind.update is None:
                raise LoraError(
                    f"is a {self.adapter.kind.name}, and {self.adapter.kind.needs_base}: bake it "
                    "with the base model first, or leave it out with the layers selector"
                )
            update = self.adapter.update(self.tensors.__getitem__, device, dtype)
            # Diffusers keeps (scale, shift) where the models have (shift, scale).
            return update.rolled() if self.name.swapped else update
        except LoraError as error:
            raise LoraError(f"{self.tensors.name}: module {self.canonical}: {error}") from error


class Lora:
    """A LoRA file or state dict, read lazily.

    `modules` maps canonical names to modules in the file's order. `other` maps the keys of tensors
    that belong to no module to the reason; they are carried through edits. `shadowed` does so for
    tensors that ComfyUI never reads because others of the same module take their place; edits drop
    them. Raises LoraError when there is no adapter in it.
    """

    def __init__(self, source: Source, prefer: Family | None = None) -> None:
        self.tensors = open_tensors(source)
        try:
            adapters, self.other, self.shadowed = group(self.tensors.info)
        except LoraError as error:
            raise LoraError(f"{self.tensors.name}: {error}") from error
        if not adapters:
            sample = ", ".join(list(self.tensors.info)[:3]) or "none"
            raise LoraError(
                f"{self.tensors.name}: no LoRA tensors in it (keys: {sample}); is it a checkpoint "
                "or another kind of file?"
            )
        self.recognition: Recognition = recognise((raw for raw, _ in adapters), prefer)
        self.modules: dict[str, Module] = {}
        for (raw, parameter), adapter in adapters.items():
            module = Module(resolve(raw, self.family), raw, parameter, adapter, self.tensors)
            previous = self.modules.get(module.canonical)
            if previous is not None:
                # Two spellings of one weight: ComfyUI lets the later one of its key map win. That
                # order is the model's, so the choice here is the file's last, and it is reported.
                reason = f"module {module.canonical} is stored twice; {raw} is used"
                self.shadowed |= {key: reason for key in previous.adapter.keys.values()}
            self.modules[module.canonical] = module

    @property
    def name(self) -> str:
        return self.tensors.name

    @property
    def metadata(self) -> dict[str, str]:
        return self.tensors.metadata

    @property
    def family(self) -> Family | None:
        return self.recognition.family

    @property
    def bytes(self) -> int:
        return sum(info.bytes for info in self.tensors.info.values())

    @cached_property
    def spelling(self) -> Spelling:
        """How most of the file's diffusion model modules are spelled."""
        votes: Counter[Spelling] = Counter()
        for module in self.modules.values():
            votes[self._spelling_of(module)] += 1 if module.name.encoder is None else 0
        return votes.most_common(1)[0][0]

    def _spelling_of(self, module: Module) -> Spelling:
        prefix, path = split_prefix(module.raw)
        flat = "." not in path and prefix.endswith("_")
        row = self.family.rows.get(module.name.native or "") if self.family else None
        diffusers = bool(row and row.diffusers) and flatten_equal(module.name, path) is False
        if module.adapter.kind is LORA:
            up, down = module.adapter.suffixes["up"], module.adapter.suffixes["down"]
        else:
            up, down = SUFFIX_PAIRS[0] if flat else SUFFIX_PAIRS[2]
        alpha = "alpha" in module.adapter.keys or flat
        return Spelling(spelling_name(prefix), prefix, flat, diffusers, up, down, alpha)


def flatten_equal(name: ModuleName, path: str) -> bool:
    return path.replace(".", "_") == name.weight.replace(".", "_")
