"""What a file is to each of a folder: a copy, the same under other names, inside another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path

from ..deferred import torch
from ..errors import Cancelled, FileError, LoraError, MismatchError
from ..reading.lora import Lora, Source
from ..running.stream import Compute
from .comparison import compare
from .comparison_words import INSIDE, related
from .meetings import Pair

# From the nearest on.
COPY, RENAMED, RELATED, OTHER, FOREIGN, UNREADABLE = (
    "copy", "same in other names", "related", "other", "other model", "not read",
)  # fmt: skip
RELATIONS = (COPY, RENAMED, RELATED, OTHER, FOREIGN, UNREADABLE)
EQUAL = 1e-5  # what rounding in float32 leaves of a difference


@dataclass(frozen=True)
class Neighbour:
    """A file of the folder: `relation` is one of RELATIONS, `text` says it in a sentence.

    `path` is relative to the folder. `cosine` and `norm_ratio` are of all modules; NaN where they
    were not measured.

    >>> style, character = core.samples()
    >>> [near] = core.neighbours(style, style.parent)
    >>> near.path
    'character_kohya.safetensors'
    """

    path: str
    relation: str
    cosine: float = nan
    norm_ratio: float = nan
    text: str = ""


def neighbours(
    source: Source,
    folder: str | os.PathLike[str],
    compute: Compute | None = None,
) -> list[Neighbour]:
    """Every other .safetensors file in and below the `folder`, from the nearest on.

    `source` is a path, a state dict or a Lora. `compute.progress` is told of files. What cannot be
    read or is for another model is listed with the reason. Raises FileError where there is no such
    folder or nothing in it.

    >>> style, character = core.samples()
    >>> copy = core.save(style, "copy.safetensors")
    >>> [near.relation for near in core.neighbours(style, ".")]
    ['copy']
    """
    compute = compute or Compute()
    root = Path(folder)
    lora = Lora.of(source)
    own = lora.tensors.path
    if not root.is_dir():
        raise FileError("is no folder", fix="give one with LoRA files in it", file=str(root))
    paths = [path for path in sorted(root.rglob("*.safetensors")) if path.is_file()]
    paths = [path for path in paths if own is None or not os.path.samefile(path, own)]
    if not paths:
        raise FileError(
            "has no other .safetensors file", fix="choose another folder", file=str(root)
        )
    found = []
    for done, path in enumerate(paths):
        if compute.cancelled and compute.cancelled():
            raise Cancelled("cancelled")
        found.append(_neighbour(lora, path, str(path.relative_to(root)), compute))
        if compute.progress:
            compute.progress(done + 1, len(paths), path.name)

    def nearness(one: Neighbour) -> tuple[int, float]:
        return RELATIONS.index(one.relation), -abs(one.cosine) if one.cosine == one.cosine else 0.0

    return sorted(found, key=nearness)


def _neighbour(lora: Lora, path: Path, name: str, compute: Compute) -> Neighbour:
    try:
        other = Lora(path)
        if _same_tensors(lora, other):
            return Neighbour(name, COPY, 1.0, 1.0, "a copy: every tensor is the same, bit for bit")
        (pair,) = compare([lora, other], compute=replace(compute, progress=None)).pairs
    except MismatchError as error:
        return Neighbour(name, FOREIGN, text=error.problem)
    except LoraError as error:
        return Neighbour(name, UNREADABLE, text=error.problem)
    return told(pair, name)


def told(pair: Pair, name: str) -> Neighbour:
    """What the figures of two files say of the second, which has other tensors."""
    overlap = pair.overlap
    known = name, overlap.cosine, overlap.norm_ratio

    def neighbour(relation: str, text: str) -> Neighbour:
        return Neighbour(name, relation, *known[1:], text)

    if overlap.cosine > 1 - EQUAL and abs(overlap.norm_ratio - 1) < EQUAL:
        return neighbour(RENAMED, "the same LoRA, stored in another way")
    if text := related(pair, "A", "it"):
        near = abs(overlap.cosine) >= 0.1 or max(pair.spaces.shares.values()) >= INSIDE
        return neighbour(RELATED if near and pair.common.meetings else OTHER, text)
    return neighbour(OTHER, "")


def _same_tensors(one: Lora, other: Lora) -> bool:
    first, second = one.original, other.original
    return first.info == second.info and all(
        torch.equal(_bytes(first[key]), _bytes(second[key])) for key in first.info
    )


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def counts(found: Sequence[Neighbour]) -> dict[str, int]:
    """How many files of each relation, nearest first, without those of which there is none."""
    numbers = {r: sum(one.relation == r for one in found) for r in RELATIONS}
    return {relation: number for relation, number in numbers.items() if number}
