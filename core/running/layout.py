"""Which modules the output has, and which input modules each of them is made of.

Two files can cut one weight differently: one has `qkv`, the other `to_q`, `to_k` and `to_v`. The
output is cut like the first file (or like the spelling that was asked for), and every input module
that overlaps a piece of it contributes the rows they share, zeros elsewhere. Both directions are
exact: a part is rows of `up` with the same `down`, a whole is the sum of its padded parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch

from ..adapters.lora import LORA
from ..algebra.low_rank import Update
from ..errors import LoraError
from ..naming.family import UNKNOWN, Family, swapped
from ..naming.spelling import (
    DIFFUSERS,
    GENERIC,
    ModuleName,
    Spelling,
    is_read,
    other_names,
    spell,
    standard_spelling,
    suited,
)
from ..reading.lora import Lora, Module


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
    def only(self) -> Module | None:
        """The one input module that this target is, uncut, or None."""
        first = self.contributions[0]
        return first.module if len(self.contributions) == 1 and first.whole else None

    def updates(self, device: torch.device, dtype: torch.dtype) -> list[Update]:
        """What each contribution adds. Raises LoraError where they do not fit one weight."""
        terms = [c.update(device, dtype) for c in self.contributions]
        if len({_matrix_shape(term) for term in terms}) > 1:
            shapes = " and ".join(
                f"{tuple(term.shape)} in {c.module.tensors.name}"
                for term, c in zip(terms, self.contributions, strict=True)
            )
            raise LoraError(
                f"module {self.canonical}: the shapes differ, {shapes}: "
                + misfit([c.module for c in self.contributions])
            )
        return terms


def _matrix_shape(update: Update) -> tuple[int, int]:
    # Factors of convolutions are stored with and without the kernel's dimensions.
    out, *rest = update.shape or (1,)
    return out, prod(rest)


def misfit(modules: Sequence[Module]) -> str:
    """Why modules that touch one weight do not fit each other."""
    if len({id(module.tensors) for module in modules}) > 1:
        return "different base models"
    return f"{modules[0].tensors.name} is damaged or mixed up"


def check_families(loras: Sequence[Lora]) -> None:
    """Raises LoraError when two files have no weight in common and may be for different models.

    Two halves of one LoRA have none in common either.
    """
    if len(loras) < 2:
        return
    first, second = loras
    shared = {m.identity for m in first.modules.values()} & {
        m.identity for m in second.modules.values()
    }
    if not shared and not (first.family is second.family is not UNKNOWN):
        raise LoraError(
            f"{first.name} and {second.name} share no module: they are for different base models "
            f"({first.recognition} and {second.recognition}); blend LoRAs of one model"
        )


def open_pair(first: Lora, second: Lora) -> tuple[Lora, Lora]:
    """Two files read as one family where the names of one of them leave that open."""
    if first.family is not second.family:
        if second.recognition.confidence != "certain":
            second = Lora(second.tensors, first.family, second.reading)
        if first.family is not second.family and first.recognition.confidence != "certain":
            first = Lora(first.tensors, second.family, first.reading)
    return first, second


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
    strict = spelling is not None or all(map(loras[0].unread, loras[0].modules.values()))
    for members in groups.values():
        targets += _targets_of_weight(members, loras, spelling, strict)
    seen: set[tuple[str, str]] = set()
    for target in targets:
        if (target.raw, target.parameter) in seen:
            raise LoraError(f"two modules of the output would both be called {target.raw}")
        seen.add((target.raw, target.parameter))
    return targets


def _targets_of_weight(
    members: list[tuple[int, Module]],
    loras: Sequence[Lora],
    wanted: Spelling | None,
    strict: bool,
) -> list[Target]:
    """The targets for one weight, given all modules that touch it."""
    modules = [module for _, module in members]
    family = modules[0].family  # The one that its name was found in.
    sizes = part_sizes(modules, family)
    first = [module for index, module in members if index == 0]
    if wanted is None and first:
        # The first file's own cut, then whatever the second has beyond it.
        first = outermost(first)
        names = [module.name.part for module in first]
        covered = {part for name in names for part in range(name.first, name.last)}
        present = {part for m in modules for part in range(m.name.first, m.name.last)}
        rest = [names[0]._replace(first=part, last=part + 1) for part in sorted(present - covered)]
        style = loras[0].spelling
        spelled = [(m.name, m.raw, own_spelling(m, style)) for m in first]
        if not all(_has_name(name, style, family, modules) for name in rest):
            # No spelling knows these rows alone: the weight is written as a whole.
            spelled, rest = [], [names[0]._replace(first=0, last=len(names[0].parts))]
        spelled += [_spelled(name, style, family, modules, strict) for name in rest]
    else:
        style = wanted or loras[0].spelling
        cut = _cut(modules, style, sizes, family)
        spelled = [_spelled(name, style, family, modules, strict) for name in cut]
    return [
        Target(
            name,
            modules[0].parameter,
            raw,
            style,
            tuple(_contributions(name, members, sizes)),
        )
        for name, raw, style in spelled
    ]


def outermost(modules: list[Module]) -> list[Module]:
    """The modules whose rows lie in no other one's. ComfyUI adds parts to the whole, as we do."""
    result: list[Module] = []
    for module in sorted(modules, key=lambda m: m.name.first - m.name.last):
        first, last = module.name.first, module.name.last
        if not any(other.name.first <= first and last <= other.name.last for other in result):
            result.append(module)
    return sorted(result, key=modules.index)


def _cut(
    modules: list[Module], style: Spelling, sizes: list[int] | None, family: Family
) -> list[ModuleName]:
    """How a spelling cuts a weight: whole, or into the parts that the files have."""
    name = modules[0].name.part
    whole = name._replace(first=0, last=len(name.parts))
    uncut = len(name.parts) == 1 or modules[0].parameter == "bias"
    keeps = spell(whole, style, family) is not None
    if uncut or (keeps and all(module.name.whole for module in modules)):
        return [whole]
    if sizes is None:
        return [module.name.part for module in outermost(modules)]
    if keeps:
        return [whole]
    if style.diffusers:
        present = sorted({p for m in modules for p in range(m.name.first, m.name.last)})
        return [name._replace(first=part, last=part + 1) for part in present]
    return [module.name.part for module in outermost(modules)]


def _has_name(name: ModuleName, style: Spelling, family: Family, modules: list[Module]) -> bool:
    """Whether a module of the files or a rule has a name for exactly these rows."""
    styles = (style, *(standard_spelling(standard, family) for standard in (GENERIC, DIFFUSERS)))
    return any(module.name.part == name for module in modules) or any(
        spell(name, style, family) is not None for style in styles
    )


def _spelled(
    name: ModuleName, style: Spelling, family: Family, modules: list[Module], strict: bool
) -> tuple[ModuleName, str, Spelling]:
    """The name as it will be written: in the style, or as the file had it.

    Unless it is `strict`, a style gives way where ComfyUI would not read the name.
    """
    row = family.rows.get(name.native) if name.native and not name.encoder else None
    shape = next((m.measure.shape for m in modules if m.measure.shape), ())
    swap = bool(row and swapped(other_names(row, style)[1], shape))
    raw = spell(name, style, family)
    # A bias has only names that swap nothing: see `Lora`.
    swaps = swap and modules[0].parameter == "bias"
    if raw is not None and not swaps and (strict or is_read(raw, family)):
        return name._replace(swapped=swap), raw, suited(style, raw)
    for module in modules:
        if module.name.part == name:
            return module.name, module.raw, own_spelling(module, style)
    # No rule of this style for these rows alone: any spelling that has one.
    for other in (standard_spelling(standard, family) for standard in (GENERIC, DIFFUSERS)):
        if (raw := spell(name, other, family)) is not None:
            swap = bool(row and swapped(other_names(row, other)[1], shape))
            return name._replace(swapped=swap), raw, suited(other, raw)
    files = " and ".join(dict.fromkeys(module.tensors.name for module in modules))
    raise LoraError(
        f"module {name.canonical} of {files} has no name in the {style.name} spelling; choose "
        "another spelling, or leave it out with the layers selector"
    )


def own_spelling(module: Module, style: Spelling) -> Spelling:
    """The style with the suffixes that this module has."""
    if module.adapter.kind is not LORA:
        return style
    suffixes = module.adapter.suffixes
    alpha = "alpha" in module.adapter.keys
    return replace(style, up=suffixes["up"], down=suffixes["down"], alpha=alpha)


def part_sizes(modules: list[Module], family: Family) -> list[int] | None:
    """Rows of each part of a fused weight, from shapes alone; None where they do not tell.

    Fused attention projections have as many rows per part as the weight has columns; only the last
    part of four (the MLP) has another size, which is what remains of the whole, in a file or in the
    family's models. Raises LoraError when two files disagree.
    """
    parts = len(modules[0].name.parts)
    if parts == 1:
        return None
    modules = [module for module in modules if module.out_features]
    known: dict[int, int] = {}
    for module in modules:
        name = module.name
        if name.last - name.first == 1:
            size = known.setdefault(name.first, module.out_features)
            if size != module.out_features:
                raise LoraError(
                    f"module {name.canonical} has {module.out_features} rows in "
                    f"{module.tensors.name} and {size} in {_others(module, modules)}: "
                    f"{misfit(modules)}"
                )
    told = bool(known)
    inner = next((m.in_features for m in modules if m.in_features), 0)
    if not inner and not known:
        return None  # Biases have no columns that would tell how tall a part is.
    whole = next((m.out_features for m in modules if m.name.whole), 0)
    native = modules[0].name.native if modules else None
    if native and (heights := family.heights(native, whole, known)):
        return heights if all(heights[part] == size for part, size in known.items()) else None
    for part in range(min(parts, 3)):
        known.setdefault(part, inner or next(iter(known.values()), 0))
    if not whole and native:
        whole = inner * family.rows_per_column.get(native, 0)
    if parts == 4:
        known.setdefault(3, whole - sum(known[p] for p in range(3)))
    for module in modules:
        name, total = module.name, module.out_features
        expected = sum(known[p] for p in range(name.first, name.last))
        if expected != total and told:
            raise LoraError(
                f"module {name.canonical} of {module.tensors.name} has {total} rows, its parts "
                f"in {_others(module, modules)} add up to {expected}: {misfit(modules)}"
            )
        if expected != total:
            return None
    sizes = [known[part] for part in range(parts)]
    return sizes if all(size > 0 for size in sizes) else None


def _others(module: Module, modules: list[Module]) -> str:
    """The files of all modules but this one's; its own where there is no other."""
    names = [other.tensors.name for other in modules if other.tensors is not module.tensors]
    return " and ".join(dict.fromkeys(names)) or module.tensors.name


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
            raise LoraError(
                f"module {theirs.canonical} of {module.tensors.name} is fused or split another way "
                f"than {name.canonical} in {_others(module, [m for _, m in members])}, and the "
                "shapes do not tell where it belongs; convert one file first"
            )
        start = sum(sizes[theirs.first : low])
        stop = start + sum(sizes[low:high])
        before, after = sum(sizes[name.first : low]), sum(sizes[high : name.last])
        result.append(Contribution(index, module, start, stop, before, after))
    return result
