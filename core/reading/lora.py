"""A LoRA: ordered modules with their adapters, the other tensors, and the metadata."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..adapters.adapter import Adapter, stored_scalar
from ..adapters.grouping import DROPPED, group
from ..adapters.kind import Dimensions
from ..adapters.lora import SUFFIX_PAIRS
from ..algebra.cached import cached_property
from ..algebra.update import Update
from ..deferred import Tensor, torch
from ..errors import FileError, located
from ..naming.family import UNKNOWN, Family
from ..naming.recognition import Recognition, recognise
from ..naming.spelling import (
    ModuleName,
    Spelling,
    is_read,
    precedence,
    resolve,
    spelling_name,
    split_prefix,
    standard_spelling,
)
from ..storage.dtypes import TensorInfo
from ..storage.files import Tensors, open_tensors
from .dialects import Renamed, translated
from .peft_scale import PeftSettings

Stored = str | os.PathLike[str] | Mapping[str, Tensor] | Tensors


@dataclass(frozen=True)
class Reading:
    """How a file is read where there is a choice. By default it means what ComfyUI makes of it.

    `drop_magnitude` reads DoRA as its low-rank part alone. `scale_from_metadata` scales as
    diffusers does by PEFT's settings in the metadata, which ComfyUI ignores.

    >>> style, _ = core.samples()
    >>> lora = core.Lora(style, reading=core.Reading(scale_from_metadata=True))
    """

    drop_magnitude: bool = False
    scale_from_metadata: bool = False


@dataclass(frozen=True)
class Module:
    """One adapted weight or bias of one file; its tensors are read when asked for.

    `name` says which weight of the `family` it is, `raw` how the file spells it, `parameter`
    whether weight or bias. `adapter` knows its `tensors`; `scale` is a factor on what these say.

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
        return self.adapter.dimensions(self.tensors.info)

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

    def update(self, device: torch.device, dtype: torch.dtype, lazy: bool = False) -> Update:
        """dW (or the change of the bias) at strength 1, rows in the canonical order.

        `lazy` as in `Adapter.update`. Raises FileError naming file, module and tensor where the
        stored numbers are no update.
        """
        kind = self.adapter.kind
        with located(file=self.tensors.name, module=self.canonical):
            if kind.update is None:
                ways = ["bake it with the base model first", kind.way_out]
                ways.append("leave it out with the layers selector")
                article = "an" if kind.name[0] in "AEIOU" else "a"
                raise FileError(
                    f"is {article} {kind.name}, and {kind.needs_base}",
                    fix=", or ".join(filter(None, ways)),
                )
            update = self.adapter.update(self.tensors.__getitem__, device, dtype, lazy)
            shape = self.family.kernel(self.name.native, update.shape)
            update = update if shape == update.shape else update.reshaped(shape)
            # Diffusers keeps (scale, shift) where the models have (shift, scale).
            return (update.rolled() if self.name.swapped else update).scaled(self.scale)


class Lora:
    """A LoRA file or state dict, read lazily. `source` is a path or a dict of tensors.

    `modules` maps canonical names to modules in the file's order. `other` maps the keys of tensors
    that belong to no module to the reason; they are carried through edits. `shadowed` does so for
    tensors that do not count, for the most part because others of the same module take their place
    in ComfyUI; edits drop them. `notes` says what a user should know about the `reading`. `prefer`
    is the family where names leave that open. `original` are the tensors under the file's own keys.
    Raises FileError where there is no adapter in it.

    >>> lora = core.Lora(core.samples()[1])
    >>> lora.family.name, len(lora.modules), lora.bytes
    ('Flux', 28, 187448)
    """

    def __init__(
        self,
        source: Stored,
        prefer: Family = UNKNOWN,
        reading: Reading = Reading(),
    ) -> None:
        self.original = open_tensors(source)
        self.tensors = translated(self.original)
        self.reading = reading
        with located(file=self.name):
            adapters, self.other, self.shadowed = group(self.tensors.info, reading.drop_magnitude)
        if not adapters and not self.shadowed:
            sample = ", ".join(list(self.tensors.info)[:3]) or "none"
            raise FileError(
                f"no LoRA tensors in it (keys: {sample})",
                fix="choose a LoRA, not a checkpoint or another kind of file",
                file=self.name,
            )
        shapes: dict[str, tuple[int, ...]] = {}
        for (raw, parameter), adapter in adapters.items():
            if parameter == "weight" or raw not in shapes:
                shapes[raw] = adapter.dimensions(self.tensors.info).shape
        self.recognition: Recognition = recognise(shapes, self.metadata, prefer)
        settings = PeftSettings.read(self.metadata)
        scales: Counter[float] = Counter()
        found: dict[object, Module] = {}
        for (raw, parameter), adapter in adapters.items():
            name = resolve(raw, self.family, shapes[raw])
            module = Module(name, raw, parameter, adapter, self.tensors, family=self.family)
            scale = _peft_scale(module, settings)
            scales[scale] += 1
            self._add(replace(module, scale=scale if reading.scale_from_metadata else 1.0), found)
        if not found:
            key, reason = next(iter(self.shadowed.items()))
            raise FileError(
                f"nothing in it that ComfyUI applies: {key} ({reason})",
                fix="save it again with all of its tensors, or choose another",
                file=self.name,
            )
        # The halves of a weight's rows can be there in both orders: ComfyUI adds the two.
        self.modules: dict[str, Module] = {}
        for module in found.values():
            key = module.canonical
            self.modules[f"{key} ({module.raw})" if key in self.modules else key] = module
        self.notes = [*self._notes(), *_scale_notes(scales, settings, reading)]

    @classmethod
    def of(cls, source: Source) -> Lora:
        """The source itself where it is a LoRA that was opened with its own settings."""
        return source if isinstance(source, Lora) else cls(source)

    def _add(self, module: Module, found: dict[object, Module]) -> None:
        """Keep the module, unless ComfyUI does not apply it or prefers one already found."""
        keys = module.adapter.keys.values()
        if module.parameter == "bias" and (not module.name.whole or module.name.swapped):
            self.shadowed |= {key: BIAS_OF_PART for key in keys}
            return
        previous = found.get(module.place)
        if previous is not None:
            # The later of ComfyUI's key map takes the weight; in doubt the later of the file.
            first, second = (precedence(m.raw, self.family) for m in (previous, module))
            module, loser = (module, previous) if second >= first else (previous, module)
            reason = f"module {module.canonical} is stored twice; ComfyUI reads {module.raw}"
            self.shadowed |= {key: reason for key in loser.adapter.keys.values()}
        found[module.place] = module

    def _notes(self) -> list[str]:
        notes = []
        if isinstance(self.tensors, Renamed):
            notes.append(f"{self.name}: {self.tensors.dialect}, renamed as ComfyUI renames it")
        dropped = sum(reason == DROPPED for reason in self.shadowed.values())
        if dropped:
            notes.append(
                f"{self.name}: read without the magnitudes of {dropped} DoRA modules; that is not "
                "the update that was trained"
            )
        remarks = Counter(module.dimensions.note for module in self.modules.values())
        notes += [f"{remark} ({count} modules)" for remark, count in remarks.items() if remark]
        unread = [m for m in self.modules.values() if self.unread(m)]
        if unread:
            notes.append(
                f"ComfyUI has no names like {unread[0].raw}, for {len(unread)} of "
                f"{len(self.modules)} modules, and leaves them out; here they count, and "
                "the spelling generic writes names that it reads"
            )
        return notes

    def unread(self, module: Module) -> bool:
        """Whether ComfyUI knows the weight under other names only."""
        return module.name.native is not None and not is_read(module.raw, self.family)

    @property
    def name(self) -> str:
        return self.tensors.name

    @property
    def metadata(self) -> dict[str, str]:
        return self.tensors.metadata

    @property
    def family(self) -> Family:
        return self.recognition.family

    @property
    def bytes(self) -> int:
        return sum(info.bytes for info in self.tensors.info.values())

    @cached_property
    def spelling(self) -> Spelling:
        """How most of the file's diffusion model modules are spelled.

        In a file of text encoders alone: how they would be, beside these names.
        """
        modules = [m for m in self.modules.values() if m.name.encoder is None]
        if not modules:
            prefix, _ = split_prefix(next(iter(self.modules.values())).raw)
            return standard_spelling(spelling_name(prefix), self.family)
        return Counter(map(self._spelling_of, modules)).most_common(1)[0][0]

    def _spelling_of(self, module: Module) -> Spelling:
        prefix, path = split_prefix(module.raw)
        flat = "." not in path and prefix.endswith("_")
        row = self.family.rows.get(module.name.native or "")
        diffusers = bool(row and row.diffusers) and flatten_equal(module.name, path) is False
        default_up, default_down = SUFFIX_PAIRS[0] if flat else SUFFIX_PAIRS[2]
        suffixes = module.adapter.suffixes if module.adapter.kind.factors else {}
        up, down = suffixes.get("up", default_up), suffixes.get("down", default_down)
        alpha = "alpha" in module.adapter.keys or flat
        return Spelling(spelling_name(prefix), prefix, flat, diffusers, up, down, alpha)


def flatten_equal(name: ModuleName, path: str) -> bool:
    return path.replace(".", "_") == name.weight.replace(".", "_")


BIAS_OF_PART = "ComfyUI applies a bias only under the name of the whole weight"


def _peft_scale(module: Module, settings: PeftSettings | None) -> float:
    """What diffusers multiplies a module with and ComfyUI does not."""
    adapter, rank = module.adapter, module.rank
    if settings is None or rank is None or not adapter.kind.factors or "alpha" in adapter.keys:
        return 1.0
    return settings.scale(module.raw, rank)


def _scale_notes(
    scales: Counter[float], settings: PeftSettings | None, reading: Reading
) -> list[str]:
    other = [scale for scale in scales if scale != 1.0]
    if not other:
        return []
    low, high = min(other), max(other)
    factor = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    count = f"{sum(scales[scale] for scale in other)} of {scales.total()} modules by {factor}"
    if reading.scale_from_metadata:
        return [f"scaled {count} as diffusers does ({settings}); ComfyUI scales them by 1"]
    return [
        f"diffusers scales {count} ({settings}), ComfyUI by 1, which counts here; "
        "scale_from_metadata reads the file as diffusers does"
    ]


# What edits take: a file, a state dict, or a LoRA opened with settings of its own.
Source = Stored | Lora
