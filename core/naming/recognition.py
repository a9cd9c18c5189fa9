"""Which model family a file is for, told by its names, shapes and metadata."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .catalogue import FAMILIES
from .family import UNKNOWN, Family, anonymous, fill, flatten, split_numbers
from .numbers import number
from .spelling import TEXT_PREFIX, split_prefix

METADATA_KEYS = ("ss_base_model_version", "modelspec.architecture")
ModuleShapes = Mapping[str, tuple[int, ...]]
# A name with # for its numbers -> the numbers and the shape of every module that is called so.
Names = dict[str, list[tuple[tuple[str, ...], tuple[int, ...]]]]


@dataclass(frozen=True)
class Recognition:
    """The family that a file points to, and how sure that is.

    `confidence` is "certain" (no other family has these names, or metadata or the number of blocks
    decide between those that have), "likely" (another file settles it, or many names are unknown),
    "possible" (a tie; `others` names the rest of it) or "unknown".
    """

    family: Family
    confidence: str
    known: int
    total: int
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        seen = f"{self.known} of {self.total} names known" if self.total else "text encoders only"
        if self.family is UNKNOWN:
            return "unknown model family" if self.total else f"unknown model family ({seen})"
        names = " or ".join((self.family.name, *self.others))
        return f"{names} ({self.confidence}, {seen})"


class Likeness(NamedTuple):
    """How well a family fits: better fits are greater.

    `known` names are in its table; `sized` of them have the shape of one of its layers, all in
    models of one width; `within` is False where the file has more blocks than the family; `told`
    says that the metadata name it; `entire` says that the file has exactly as many blocks in every
    container as one of the family's models, and more than one container or every layer of a block.
    The rest are hints, not evidence: `counted` of the containers have as many blocks as a model,
    `covered` says that every layer of a block is there, and `familiar` that no layer has a strange
    shape beside others that fit.
    """

    known: int
    sized: int
    within: bool
    told: bool
    entire: bool
    covered: bool
    counted: int
    familiar: bool

    @property
    def evidence(self) -> tuple[int | bool, ...]:
        return self[:5]


def recognise(
    shapes: ModuleShapes, metadata: Mapping[str, str] | None = None, prefer: Family = UNKNOWN
) -> Recognition:
    """The family of a file, from its raw module names with the shapes of their updates.

    `prefer` (the family of the file that this one is combined with) decides what is a tie
    otherwise, and what files of text encoders alone leave open. Empty shapes are shapes that are
    not known.
    """
    flat = {}
    for raw, shape in shapes.items():
        prefix, path = split_prefix(raw)
        if not TEXT_PREFIX.fullmatch(prefix):
            flat[flatten(path)] = shape
    if not flat and prefer is not UNKNOWN:
        return Recognition(prefer, "likely", 0, 0)
    names: Names = {}
    for name, shape in flat.items():
        numbers, key = split_numbers(name)
        names.setdefault(key, []).append((numbers, shape))
    told = told_by(metadata or {})
    fits = [(family, likeness(family, names, told)) for family in FAMILIES]
    family, best = max(fits, key=lambda entry: entry[1])
    if best.known * 2 < len(flat) or not best.known:
        return Recognition(UNKNOWN, "unknown", best.known, len(flat))
    rivals = [o for o, its in fits if its.evidence == best.evidence and o is not family]
    if rivals and (prefer is family or prefer in rivals):
        return Recognition(prefer, "likely", best.known, len(flat))
    if rivals:
        others = tuple(rival.name for rival in rivals)
        return Recognition(family, "possible", best.known, len(flat), others)
    # A strange shape beside others that fit: the model is a relative of the family's.
    sure = best.known * 10 >= len(flat) * 9 and best.familiar
    return Recognition(family, "certain" if sure else "likely", best.known, len(flat))


def told_by(metadata: Mapping[str, str]) -> str:
    """What the metadata call the model, in lower case without separators."""
    text = " ".join(metadata.get(key, "") for key in METADATA_KEYS)
    return re.sub(r"[^a-z0-9 ]", "", text.lower())


def likeness(family: Family, names: Names, told: str) -> Likeness:
    weights, natives, known, shaped, sized = [], set(), 0, 0, [0] * len(family.sizes)
    for key in names.keys() & family.index.keys():
        for numbers, shape in names[key]:
            found = family.find_split(numbers, key)
            if found is None:
                continue
            match, values = found
            native = match.row.native
            weights.append(fill(native, values))
            natives.add(anonymous(native))
            ratio = family.rows_per_column.get(native)
            known += not (ratio and match.whole and len(shape) > 1 and shape[0] != ratio * shape[1])
            shaped += len(shape) > 1 and not match.row.lone
            size = family.kernel(native, shape)[:2]
            for width, sizes in enumerate(family.sizes):
                sized[width] += size in sizes
    depth = _depth(weights)
    within = all(depth.get(name, 0) <= max(counts) for name, counts in family.blocks.items())
    # Numbers of blocks are no evidence for a model whose layers have other shapes.
    fit = max(sized, default=0)
    exact = sum(depth.get(name) in counts for name, counts in family.blocks.items())
    counted = exact if fit or not shaped else 0
    covered = bool(family.layers) and family.layers <= natives
    entire = counted == len(family.blocks) and (counted > 1 or (covered and counted > 0))
    is_told = bool(family.metadata and re.search(family.metadata, told))
    familiar = fit in (0, shaped)
    return Likeness(known, fit, within, is_told, entire, covered, counted, familiar)


def _depth(weights: Iterable[str]) -> dict[str, int]:
    """Outer container -> number of blocks seen (largest index + 1)."""
    depth: dict[str, int] = {}
    for weight in weights:
        container, _, rest = weight.partition(".")
        index = number(rest.partition(".")[0].removeprefix("block"))
        if index is not None:
            depth[container] = max(depth.get(container, 0), index + 1)
    return depth
