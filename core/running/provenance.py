"""The recipe in a written file: what was done, with which settings, to which files.

It stands under `lora_alloy` as JSON. An input that was made here itself brings its own recipe
along, inside the entry that names it: the recipe of a chain of edits names all files that it
started from.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ..reading.lora import Lora
from ..version import version
from .report import Report
from .united import json_object, trigger_words

RECIPE = "lora_alloy"
TITLES = ("modelspec.title", "ss_output_name")
# A recipe within a recipe within a recipe: what goes beyond is left out, from the oldest on.
DEEPEST, LONGEST = 20, 100_000
MOST_INPUTS = 1000


def recipe(loras: Sequence[Lora], hashes: Sequence[str | None], report: Report) -> dict[str, Any]:
    """What made the output, ready for JSON. `hashes` are those of the inputs' files."""
    entries = []
    for lora, digest in zip(loras, hashes, strict=True):
        entry: dict[str, Any] = {"name": lora.name, "sha256": digest}
        if (title := title_of(lora)) != stem(lora.name):
            entry["title"] = title
        if found := trigger_words(lora.metadata):
            entry["trigger"] = ", ".join(found)
        if inner := read_recipe(lora.metadata):
            entry["recipe"] = inner
        entries.append(entry)
    whole = {
        "version": version(),
        "operation": report.operation,
        "settings": report.settings,
        "inputs": entries,
    }
    return bounded(whole)


def title_of(lora: Lora) -> str:
    """What the file calls itself, or its name."""
    found = (lora.metadata.get(key, "").strip() for key in TITLES)
    return next(filter(None, found), stem(lora.name))


def stem(name: str) -> str:
    path = PurePath(name)
    return path.stem if path.suffix == ".safetensors" else name


def read_recipe(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The recipe in a file's metadata; None where there is none, or none that we wrote."""
    return _checked(json_object(metadata.get(RECIPE, "")))


def _checked(value: Any, depth: int = DEEPEST) -> dict[str, Any] | None:
    """Only what a recipe has, in the form that it has it. Anybody can write anything there."""
    if not isinstance(value, dict) or not isinstance(value.get("operation"), str):
        return None
    settings, inputs = value.get("settings"), value.get("inputs")
    if not isinstance(settings, dict) or not isinstance(inputs, list) or not _shallow(settings):
        return None
    entries = []
    for entry in inputs[:MOST_INPUTS]:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            return None
        texts = ("name", "sha256", "title", "trigger")
        kept = {key: entry[key] for key in texts if isinstance(entry.get(key), str)}
        kept.setdefault("sha256", None)
        if depth > 0 and (inner := _checked(entry.get("recipe"), depth - 1)):
            kept["recipe"] = inner
        elif entry.get("recipe") or entry.get("cut"):
            kept["cut"] = True
        entries.append(kept)
    result = {"version": str(value.get("version", "unknown")), "operation": value["operation"]}
    return result | {"settings": settings, "inputs": entries}


def _shallow(value: Any, depth: int = 6) -> bool:
    """Whether lists and objects lie in each other no deeper than those of settings."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_shallow(one, depth - 1) for one in inner)


def bounded(whole: dict[str, Any]) -> dict[str, Any]:
    """The recipe with as many generations as the bounds let it have; `cut` marks where they end."""
    for depth in (DEEPEST, 10, 5, 3, 2, 1):
        result = _checked(whole, depth)
        if result and len(json.dumps(result["inputs"])) <= LONGEST:
            return result
    return _checked(whole, 0) or whole


def told_apart(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """[(file, its trigger words)] of the inputs that had some."""
    found = read_recipe(metadata)
    entries = found["inputs"] if found else []
    return [(stem(entry["name"]), entry["trigger"]) for entry in entries if "trigger" in entry]
