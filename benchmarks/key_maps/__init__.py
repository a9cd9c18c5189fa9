"""Key maps: every weight of a model family that a LoRA can target, and every name it goes by.

The maps lie beside this file, one JSON file per family, each in a compact form that names a block
once however often it repeats:

    prefixes   spelling style -> the prefixes put before a path; after a prefix that ends in "_" the
               dots of the path become underscores, as trainers write them
    groups     blocks that hold the same targets
      blocks   native block name -> its name in diffusers; "{0-18}" stands for each index in turn,
               "" for the model itself
      targets  "weight" and the spellings are relative to the block; a spelling style lists paths,
               separated by spaces. "slice": [dimension, start, length] is the part of the weight
               that the spellings mean. "reordered": the rows are stored in another order

A style is "native" or "diffusers", after the block name that it follows. "native_dotted" and
"diffusers_flat" are its prefixes without, or with only, those that end in "_": some modules are
spelled in one way only, or in two different ways.

The names are those that ComfyUI accepts. "clip-l" and "clip-g" are the text encoders of SD1.5 and
SDXL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_RANGE = re.compile(r"\{(\d+)-(\d+)\}")
_STYLES = ("native", "native_dotted", "diffusers", "diffusers_dotted", "diffusers_flat")

FAMILIES = ("flux", "qwen-image", "sd1.5", "sdxl", "wan2.1-14b", "z-image")


@dataclass(frozen=True)
class Target:
    """One weight, or one part of it, with every module name that means it.

    weight: name of the module in the model, without ".weight".
    shape: shape of the whole weight: (out, in) or (out, in, *kernel).
    slice: (dimension, start, length) of the part that is meant; None for all of it.
    reordered: the spellings store the rows in another order than the model does.
    spellings: module names (prefix included, suffix such as ".lora_up.weight" not), sorted.
    """

    weight: str
    shape: tuple[int, ...]
    slice: tuple[int, int, int] | None
    reordered: bool
    spellings: tuple[str, ...]


@lru_cache
def load(family: str) -> tuple[Target, ...]:
    """All targets of `family`, ordered by weight; the whole weight comes after its slices.

    Raises ValueError when there is no map for `family`.
    """
    path = _FOLDER / f"{family}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in _FOLDER.glob("*.json")))
        raise ValueError(f"no key map for {family!r}; there is {known}")
    key_map = json.loads(path.read_text(encoding="utf-8"))
    targets = [
        _target(entry, native, diffusers, key_map["prefixes"])
        for group in key_map["groups"]
        for native, diffusers in _blocks(group["blocks"])
        for entry in group["targets"]
    ]
    return tuple(sorted(targets, key=_order))


def _blocks(blocks: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(native, diffusers) name of every single block that `blocks` stands for."""
    for native, diffusers in blocks.items():
        span = _RANGE.search(native)
        indices = range(int(span[1]), int(span[2]) + 1) if span else [0]
        for index in indices:
            yield tuple(_RANGE.sub(str(index), name) for name in (native, diffusers))


def _target(entry: dict, native: str, diffusers: str, prefixes: dict[str, list[str]]) -> Target:
    spellings = set()
    for style in _STYLES:
        base = style.split("_")[0]
        block = native if base == "native" else diffusers
        for name in entry.get(style, "").split():
            path = _join(block, name)
            spellings.update(
                prefix + (path.replace(".", "_") if prefix.endswith("_") else path)
                for prefix in prefixes[base]
                if style == base or prefix.endswith("_") == style.endswith("_flat")
            )
    return Target(
        weight=_join(native, entry["weight"]),
        shape=tuple(entry["shape"]),
        slice=tuple(entry["slice"]) if "slice" in entry else None,
        reordered=entry.get("reordered", False),
        spellings=tuple(sorted(spellings)),
    )


def _join(block: str, name: str) -> str:
    return f"{block}.{name}" if block else name


def _order(target: Target) -> tuple:
    return target.weight, target.slice is None, target.slice or (), target.reordered
