"""Models of one family with other weights: what says that two files are not for the same.

A family's tables are those of all its models: Wan 2.2 has a model for high and one for low noise,
others start from a text or an image, or come in several sizes. Nothing in the names of the layers
tells them apart; file names, metadata, shapes and a few layers can.
"""

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import PurePath

from .lora import Lora

TITLES = ("ss_output_name", "modelspec.title", "name")
MODELS = ("ss_base_model_version", "ss_sd_model_name", "modelspec.architecture")
# What a word must not go on with: high_quality says nothing about noise.
_OTHER = r"(?![a-z])(?!.?(quality|res|detail|def|vram|rank|poly|key|light|angle|step))"
_NOISE = {f"{word} noise": rf"(?<![a-z]){word}(.?noise|{_OTHER})" for word in ("high", "low")}
_TASKS = {task: rf"(?<![a-z0-9]){task}(?![a-z0-9])" for task in ("t2v", "i2v", "ti2v", "flf2v")}
_SIZE = r"(?<![a-z0-9.])a?(\d{1,2}(?:[._]\d)?)b(?![a-z0-9])"


def variant_notes(loras: Sequence[Lora]) -> list[str]:
    """What to say where files seem to be for different models of their family."""
    notes = []
    told = [told_by(lora) for lora in loras]
    for (one, first), (other, second) in combinations(zip(loras, told, strict=True), 2):
        said = [(first[axis], second[axis]) for axis in first.keys() & second.keys()]
        found = [(a, b) for a, b in sorted(said) if a != b] + _shapes(one, other)
        if found:
            mine, theirs = (", ".join(words) for words in zip(*found, strict=True))
            notes.append(
                f"{one.name} is for {mine}, {other.name} for {theirs}: these are not the same "
                "weights, and what is made of both may fit neither model"
            )
    return notes


def told_by(lora: Lora) -> dict[str, str]:
    """What its name, its metadata and its layers say of a file's model: noise, task, size."""
    texts = [PurePath(lora.name).name, *(lora.metadata.get(key, "") for key in TITLES + MODELS)]
    text = "\n".join(texts).lower()
    found: dict[str, set[str]] = {
        "task": {task for task, pattern in _TASKS.items() if re.search(pattern, text)},
        "size": {size.replace("_", ".") + "B" for size in re.findall(_SIZE, text)},
    }
    if lora.family.name == "Wan":
        found["noise"] = {noise for noise, pattern in _NOISE.items() if re.search(pattern, text)}
        if not found["task"] and any(re.search(r"\.[kv]_img$", name) for name in lora.modules):
            found["task"] = {"i2v"}
    return {axis: said.pop() for axis, said in found.items() if len(said) == 1}


def _shapes(one: Lora, other: Lora) -> list[tuple[str, str]]:
    """A layer that both have in every block, in different sizes."""
    first, second = _sizes(one), _sizes(other)
    for native in first.keys() & second.keys():
        if first[native] != second[native]:
            layer = f"a {native.rpartition('#.')[2]}"
            return [(f"{layer} of {first[native]}", f"one of {second[native]}")]
    return []


def _sizes(lora: Lora) -> dict[str, str]:
    """The size of each kind of layer, where it is the same in all blocks."""
    found: dict[str, set[str]] = {}
    for module in lora.modules.values():
        native = module.name.native
        if native and "#" in native and module.name.whole and module.in_features:
            size = f"{module.out_features} x {module.in_features}"
            found.setdefault(native, set()).add(size)
    return {native: sizes.pop() for native, sizes in found.items() if len(sizes) == 1}
