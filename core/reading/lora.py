"""A LoRA: ordered modules with their adapters, the other tensors, and the metadata."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from ..adapters.foreign import foreign
from ..adapters.grouping import group
from ..adapters.lora import SUFFIX_PAIRS
from ..algebra.cached import cached_property
from ..errors import FileError, located
from ..naming.family import UNKNOWN, Family
from ..naming.precedence import precedence
from ..naming.recognition import Recognition, recognise
from ..naming.spelling import (
    ModuleName,
    Spelling,
    resolve,
    spelling_name,
    split_prefix,
    standard_spelling,
)
from ..storage.files import FileTensors, Stored, open_tensors
from .base_model import BaseModel
from .dialects import translated
from .module import Module
from .notes import check_base, reading_notes, scale_notes
from .peft_scale import PeftSettings


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


class Lora:
    """A LoRA file or state dict, read lazily. `source` is a path or a dict of tensors.

    `modules` maps canonical names to modules in the file's order. `other` maps the keys of tensors
    that belong to no module to the reason; they are carried through edits. `shadowed` does so for
    tensors that do not count, for the most part because others of the same module take their place
    in ComfyUI; edits drop them. `notes` says what a user should know about the `reading`. `prefer`
    is the family where names leave that open. `original` are the tensors under the file's own keys.
    `base`, a BaseModel or what one is opened from, tells what kinds such as DoRA do to it. Raises
    FileError where there is no adapter in it, MismatchError where it is for another base.

    >>> lora = core.Lora(core.samples()[1])
    >>> lora.family.name, len(lora.modules), lora.bytes
    ('Flux', 28, 187448)
    """

    def __init__(
        self,
        source: Stored,
        prefer: Family = UNKNOWN,
        reading: Reading = Reading(),
        base: Stored | BaseModel | None = None,
    ) -> None:
        self.base = None if base is None else BaseModel.of(base)
        if self.base and prefer is UNKNOWN:
            prefer = self.base.family
        self.original = open_tensors(source)
        self.tensors = translated(self.original)
        self.reading = reading
        with located(file=self.name):
            adapters, self.other, self.shadowed = group(self.tensors.info, reading.drop_magnitude)
        if not adapters and not self.shadowed:
            sample = ", ".join(list(self.tensors.info)[:3]) or "none"
            kinds = dict.fromkeys(filter(None, map(foreign, self.tensors.info)))
            raise FileError(
                f"holds {' and '.join(kinds)}, which ComfyUI does not read (keys: {sample})"
                if kinds
                else f"no LoRA tensors in it (keys: {sample})",
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
            module = Module(
                name, raw, parameter, adapter, self.tensors, family=self.family, base=self.base
            )
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
        if self.base:
            check_base(self.name, self.recognition, self.modules, self.base)
        self.notes = [*reading_notes(self.tensors, self.modules, self.shadowed)]
        self.notes += scale_notes(scales, settings, reading.scale_from_metadata)

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

    @property
    def file_bytes(self) -> int:
        """The size of the file, header included; of a state dict that of its tensors."""
        source = self.original
        return source.state.size if isinstance(source, FileTensors) else self.bytes

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


# What edits take: a file, a state dict, or a LoRA opened with settings of its own.
Source = Stored | Lora
