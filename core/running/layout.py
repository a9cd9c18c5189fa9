"""Which modules the output has, and which input modules each of them is made of.

Two files can cut one weight differently: one has `qkv`, the other `to_q`, `to_k` and `to_v`. The
output is cut like the first file (or like the spelling that was asked for), and every input module
that overlaps a piece of it contributes the rows they share, zeros elsewhere. Both directions are
exact: a part is rows of `up` with the same `down`, a whole is the sum of its padded parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from ..algebra.cached import cached_property
from ..algebra.update import Update
from ..deferred import torch
from ..errors import MismatchError, SettingError
from ..naming.family import Family, swapped
from ..naming.precedence import is_read
from ..naming.spelling import (
    DIFFUSERS,
    GENERIC,
    ModuleName,
    Spelling,
    other_names,
    respell,
    spell,
    standard_spelling,
    suited,
)
from ..reading.inputs import file_names, misfit, other_files
from ..reading.lora import Lora
from ..reading.module import Module
from .part_sizes import part_sizes


@dataclass(frozen=True)
class Contribution:
    """Rows [start, stop) of a module's update, with zero rows before and after."""

    input: int
    module: Module
    start: int = 0
    stop: int = -1
    before: int = 0
    after: int = 0

    @property
    def whole(self) -> bool:
        """The module is taken as it is."""
        return (self.start, self.stop, self.before, self.after) == (0, -1, 0, 0)

    def update(self, device: torch.device, dtype: torch.dtype) -> Update:
        update = self.module.update(device, dtype)
        if self.whole:
            return update
        return update.rows(self.start, self.stop).padded(self.before, self.after)


@dataclass(frozen=True)
class Target:
    """One module of the output: its name, its spelling and what it is made of."""

    name: ModuleName
    parameter: str
    raw: str
    spelling: Spelling
    contributions: tuple[Contribution, ...]

    @property
    def canonical(self) -> str:
        return self.name.canonical + (".bias" if self.parameter == "bias" else "")

    @property
    def file(self) -> str:
        """The names of the files that it comes from."""
        return file_names(c.module.tensors.name for c in self.contributions)

    @property
    def baked(self) -> bool:
        """Whether it is computed with a base weight."""
        return any(c.module.baked for c in self.contributions)

    @property
    def only(self) -> Module | None:
        """The one input module that this target is, uncut, or None."""
        first = self.contributions[0]
        return first.module if len(self.contributions) == 1 and first.whole else None

    def is_spelled(self, spelling: Spelling) -> bool:
        """Whether its name is the one that the spelling has for it."""
        module = self.contributions[0].module
        if self.name.native is None:
            return respell(module.raw, spelling) == self.raw
        return spell(self.name.part, spelling, module.family) == self.raw

    def updates(self, device: torch.device, dtype: torch.dtype) -> list[Update]:
        """What each contribution adds. Raises LoraError where they do not fit one weight."""
        terms = [c.update(device, dtype) for c in self.contributions]
        if len({_matrix_shape(term) for term in terms}) > 1:
            shapes = " and ".join(
                f"{tuple(term.shape)} in {c.module.tensors.name}"
                for term, c in zip(terms, self.contributions, strict=True)
            )
            modules = [c.module for c in self.contributions]
            raise misfit(modules, self.canonical, f"the shapes differ, {shapes}")
        return terms


def _matrix_shape(update: Update) -> tuple[int, int]:
    # Factors of convolutions are stored with and without the kernel's dimensions.
    out, *rest = update.shape or (1,)
    return out, prod(rest)


def lay_out(loras: Sequence[Lora], spelling: Spelling | None) -> list[Target]:
    """The modules of the output in the order of the first file, then of the second.

    `spelling` None keeps the spelling and cut of the first file; modules that only the second has
    take the first file's spelling where a rule knows it and keep their own otherwise.
    """
    groups: dict[tuple[str, str], list[tuple[int, Module]]] = {}
    for index, lora in enumerate(loras):
        for module in lora.modules.values():
            groups.setdefault(module.identity, []).append((index, module))
    targets = []
    # A file that ComfyUI does not read has its readers elsewhere: what joins it is spelled alike.
    strict = spelling is not None or all(module.unread for module in loras[0].modules.values())
    style = spelling or loras[0].spelling
    for members in groups.values():
        targets += Weight(members, style, strict).targets(own_cut=spelling is None)
    seen: set[tuple[str, str]] = set()
    for target in targets:
        if (target.raw, target.parameter) in seen:
            raise MismatchError(
                f"two modules of the output would both be called {target.raw}",
                fix="choose another spelling, or leave one of them out with the layers selector",
                file=target.file,
                module=target.canonical,
            )
        seen.add((target.raw, target.parameter))
    return targets


class Written(NamedTuple):
    """What a module of the output is called, and how its factors are."""

    name: ModuleName
    raw: str
    spelling: Spelling


@dataclass(frozen=True)
class Weight:
    """One weight of the model: all modules that touch it, each with the number of its input.

    `style` is the spelling of the output; unless `strict` it gives way where ComfyUI would not read
    the name.
    """

    members: list[tuple[int, Module]]
    style: Spelling
    strict: bool

    @cached_property
    def modules(self) -> list[Module]:
        return [module for _, module in self.members]

    @property
    def family(self) -> Family:
        """The one that its name was found in."""
        return self.modules[0].family

    @property
    def parameter(self) -> str:
        return self.modules[0].parameter

    @cached_property
    def sizes(self) -> list[int] | None:
        return part_sizes(self.modules, self.family)

    @property
    def whole(self) -> ModuleName:
        name = self.modules[0].name.part
        return name._replace(first=0, last=len(name.parts))

    def parts(self, numbers: Iterable[int]) -> list[ModuleName]:
        return [self.whole._replace(first=part, last=part + 1) for part in numbers]

    def targets(self, own_cut: bool) -> list[Target]:
        """The modules of the output; `own_cut` cuts and calls them as the first file does."""
        first = [module for index, module in self.members if index == 0]
        names = self.as_in(first) if own_cut and first else list(map(self.spelled, self.cut()))
        return [
            Target(
                written.name,
                self.parameter,
                written.raw,
                written.spelling,
                tuple(_contributions(written.name, self.members, self.sizes)),
            )
            for written in names
        ]

    def as_in(self, first: list[Module]) -> list[Written]:
        """The first file's own cut, then whatever the second has beyond it."""
        first = outermost(first)
        rest = self.parts(sorted(covered(self.modules) - covered(first)))
        if not all(map(self.has_name, rest)):
            # No spelling knows these rows alone: the weight is written as a whole.
            return [self.spelled(self.whole)]
        own = [Written(m.name, m.raw, own_spelling(m, self.style)) for m in first]
        return own + list(map(self.spelled, rest))

    def cut(self) -> list[ModuleName]:
        """How the style cuts the weight: whole, or into the parts that the files have."""
        uncut = len(self.whole.parts) == 1 or self.parameter == "bias"
        keeps = spell(self.whole, self.style, self.family) is not None
        if uncut or (keeps and all(module.name.whole for module in self.modules)):
            return [self.whole]
        if self.sizes is not None and keeps:
            return [self.whole]
        if self.sizes is not None and self.style.diffusers:
            return self.parts(sorted(covered(self.modules)))
        return [module.name.part for module in outermost(self.modules)]

    def has_name(self, name: ModuleName) -> bool:
        """Whether a module of the files or a rule has a name for exactly these rows."""
        return any(module.name.part == name for module in self.modules) or any(
            spell(name, style, self.family) is not None for style in (self.style, *self.others())
        )

    def others(self) -> Iterator[Spelling]:
        """The spellings that serve where the style has no name."""
        standard = (standard_spelling(name, self.family) for name in (GENERIC, DIFFUSERS))
        return (replace(other, lora_only=self.style.lora_only) for other in standard)

    def spelled(self, name: ModuleName) -> Written:
        """The name as it will be written: in the style, or as a file has it."""
        written = self.in_style(name, self.style)
        # A bias has only names that swap nothing: see `Lora`.
        usable = written is not None and not (written.name.swapped and self.parameter == "bias")
        if written and usable and (self.strict or is_read(written.raw, self.family)):
            return written
        for module in self.modules:
            if module.name.part == name:
                return Written(module.name, module.raw, own_spelling(module, self.style))
        for style in self.others():
            if (written := self.in_style(name, style)) is not None:
                return written
        raise SettingError(
            f"has no name in the {self.style.name} spelling",
            fix="choose another spelling, or leave it out with the layers selector",
            file=file_names(module.tensors.name for module in self.modules),
            module=name.canonical,
        )

    def in_style(self, name: ModuleName, style: Spelling) -> Written | None:
        known = name.native is not None
        raw = spell(name, style, self.family) if known else respell(self.modules[0].raw, style)
        if raw is None:
            return None
        row = None if name.encoder else self.family.rows.get(name.native or "")
        shape = next((m.dimensions.shape for m in self.modules if m.dimensions.shape), ())
        swap = bool(row and swapped(other_names(row, style)[1], shape))
        return Written(name._replace(swapped=swap), raw, suited(style, raw))


def covered(modules: Iterable[Module]) -> set[int]:
    """The numbers of the parts of a weight that these modules have."""
    return {part for m in modules for part in range(m.name.first, m.name.last)}


def outermost(modules: list[Module]) -> list[Module]:
    """The modules whose rows lie in no other one's. ComfyUI adds parts to the whole, as we do."""
    result: list[Module] = []
    for module in sorted(modules, key=lambda m: m.name.first - m.name.last):
        first, last = module.name.first, module.name.last
        if not any(other.name.first <= first and last <= other.name.last for other in result):
            result.append(module)
    return sorted(result, key=modules.index)


def own_spelling(module: Module, style: Spelling) -> Spelling:
    """The style with the suffixes that this module has."""
    if module.parameter == "bias":
        return replace(style, bias=module.adapter.suffixes["values"])
    if not module.adapter.kind.factors:
        return style
    suffixes = module.adapter.suffixes
    alpha = "alpha" in module.adapter.keys
    return replace(style, up=suffixes["up"], down=suffixes["down"], alpha=alpha)


def _contributions(
    name: ModuleName, members: list[tuple[int, Module]], sizes: list[int] | None
) -> list[Contribution]:
    result = []
    for index, module in members:
        theirs = module.name
        low, high = max(name.first, theirs.first), min(name.last, theirs.last)
        if low >= high:
            continue
        if (theirs.first, theirs.last) == (name.first, name.last):
            result.append(Contribution(index, module))
            continue
        if sizes is None:
            others = other_files(module, [m for _, m in members])
            raise MismatchError(
                f"is fused or split another way than {name.canonical} in {others}, and the shapes "
                "do not tell where it belongs",
                fix="convert one file first",
                file=module.tensors.name,
                module=theirs.canonical,
            )
        start = sum(sizes[theirs.first : low])
        stop = start + sum(sizes[low:high])
        before, after = sum(sizes[name.first : low]), sum(sizes[high : name.last])
        result.append(Contribution(index, module, start, stop, before, after))
    return result
