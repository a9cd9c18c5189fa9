"""What is in a LoRA file: read from the header alone, except for alphas."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..naming.blocks import container_of, locate, network_order
from ..naming.family import UNKNOWN
from ..reading.lora import Lora
from ..reading.module import Module
from ..running.provenance import RECIPE, told_apart
from ..running.report import megabytes
from ..running.united import tags, trigger_words

SHOWN_METADATA = (
    "ss_output_name",
    "ss_base_model_version",
    "ss_sd_model_name",
    "ss_network_module",
    "ss_network_dim",
    "ss_network_alpha",
    "modelspec.title",
    "modelspec.architecture",
)


MOST_TAGS = 8


def describe(lora: Lora) -> dict[str, Any]:
    """Everything that `info` knows of a `lora`, for JSON.

    A dict: name, bytes, family (None where it is unknown), confidence, spelling, modules, notes,
    other_tensors, left_out, metadata. Each of the modules is a dict, too: name, stored_as, kind,
    rank, alpha, shape [out, in], dtype. Raises FileError where an alpha is no number.

    >>> facts = core.describe(core.Lora(core.samples()[0]))
    >>> facts["family"], facts["spelling"], facts["modules"][0]["rank"]
    ('Flux', 'diffusers', 8)
    """
    return {
        "name": lora.name,
        "bytes": lora.file_bytes,
        "family": None if lora.family is UNKNOWN else lora.family.name,
        "confidence": lora.recognition.confidence,
        "spelling": lora.spelling.name,
        "modules": [
            {
                "name": module.canonical,
                "stored_as": module.raw,
                "kind": module.adapter.kind.name,
                "rank": module.rank,
                "alpha": module.alpha,
                "shape": [module.out_features, module.in_features],
                "dtype": module.info.dtype_name,
            }
            for module in lora.modules.values()
        ],
        "notes": lora.notes,
        "other_tensors": lora.other,
        "left_out": lora.shadowed,
        "trigger_words": trigger_words(lora.metadata),
        "metadata": lora.metadata,
    }


def overview(lora: Lora) -> dict[str, Any]:
    """What tells a `lora` from others, in one row: from the header alone.

    A dict: file, family, confidence (certain, likely, possible, unknown), kind, rank (the largest,
    None for kinds without), dtype, modules, bytes (of the file), spelling, trigger_words, made_by,
    title.

    >>> row = core.overview(core.Lora(core.samples()[1]))
    >>> row["family"], row["rank"], row["modules"]
    ('Flux', 16, 28)
    """
    modules = list(lora.modules.values())
    kinds = Counter(module.adapter.kind.name for module in modules)
    dtypes = Counter(module.info.dtype_name for module in modules)
    return {
        "file": lora.name,
        "family": "unknown" if lora.family is UNKNOWN else lora.family.name,
        "confidence": lora.recognition.confidence,
        "kind": kinds.most_common(1)[0][0],
        "rank": max((module.rank for module in modules if module.rank is not None), default=None),
        "dtype": dtypes.most_common(1)[0][0],
        "modules": len(modules),
        "bytes": lora.file_bytes,
        "spelling": lora.spelling.name,
        "trigger_words": trigger_words(lora.metadata),
        "made_by": made_by(lora.metadata[RECIPE], short=True) if RECIPE in lora.metadata else "",
        "title": lora.metadata.get("modelspec.title", ""),
    }


def blocks_of(lora: Lora) -> list[tuple[str, int, str, int]]:
    """(block, modules, ranks, bytes) of every block, in the network's order; "" for none."""
    found: dict[str, list[Module]] = {}
    for canonical, module in lora.modules.items():
        found.setdefault(locate(canonical).block or "", []).append(module)
    rows = []
    for block in sorted(found, key=lambda block: (not block, network_order(block))):
        ranks = [module.rank for module in found[block] if module.rank is not None]
        low, high = min(ranks, default=0), max(ranks, default=0)
        text = f"{low}" if low == high else f"{low} to {high}"
        size = sum(module.bytes for module in found[block])
        rows.append((block or "outside any block", len(found[block]), text if high else "-", size))
    return rows


def summary(lora: Lora) -> list[str]:
    """The same as `describe` for a person: what a `lora` holds, as `label: text` lines.

    >>> print(core.summary(core.Lora(core.samples()[1]))[1])
    family: Flux (certain, 28 of 28 names known)
    """
    facts = describe(lora)
    modules = facts["modules"]

    def counts(key: str) -> str:
        found = Counter(
            "none"
            if m[key] is None
            else f"{m[key]:g}"
            if isinstance(m[key], float)
            else str(m[key])
            for m in modules
        )
        return ", ".join(f"{value} ({count})" for value, count in found.most_common())

    lines = [
        f"file: {lora.name}, {megabytes(lora.file_bytes)}",
        f"family: {lora.recognition}",
        *prompt_lines(lora.metadata),
        f"spelling: {lora.spelling.name}",
        f"modules: {len(modules)}, for example {modules[0]['name']}",
        f"blocks: {blocks(lora)}",
        f"kinds: {counts('kind')}",
        f"ranks: {counts('rank')}",
        f"alphas: {counts('alpha')}",
        f"dtypes: {counts('dtype')}",
    ]
    lines += [f"note: {note}" for note in lora.notes]
    for label, keys in (("other tensors", lora.other), ("left out", lora.shadowed)):
        if keys:
            examples = ", ".join(f"{key} ({why})" for key, why in list(keys.items())[:3])
            lines.append(f"{label}: {len(keys)}, for example {examples}")
    lines += [f"{key}: {lora.metadata[key]}" for key in SHOWN_METADATA if key in lora.metadata]
    if RECIPE in lora.metadata:
        lines.append("made by: " + made_by(lora.metadata[RECIPE]))
    return lines


def prompt_lines(metadata: Mapping[str, str]) -> list[str]:
    """What belongs into a prompt: the trigger words, whose they are, and the most frequent tags."""
    lines = []
    if found := trigger_words(metadata):
        lines.append("trigger words: " + ", ".join(found))
    lines += [f"trigger words of {file}: {their}" for file, their in told_apart(metadata)]
    if frequent := list(tags(metadata).items())[:MOST_TAGS]:
        lines.append("tags: " + ", ".join(f"{tag} ({count})" for tag, count in frequent))
    return lines


def made_by(text: str, short: bool = False) -> str:
    """The recipe in a sentence, or as it stands where it is not one of ours."""
    try:
        recipe = json.loads(text)
        names = ", ".join(str(entry["name"]) for entry in recipe["inputs"])
        what = f"{recipe['operation']} of {names}"
        return what if short else f"LoRA Alloy {recipe['version']}, {what}"
    except (ValueError, TypeError, LookupError, RecursionError):
        return text


def blocks(lora: Lora) -> str:
    """`double_blocks (19), single_blocks (38)`: the containers and how many of each are adapted."""
    found: dict[str, set[str]] = {}
    for canonical in lora.modules:
        if block := locate(canonical).block:
            found.setdefault(container_of(block), set()).add(block)
    return ", ".join(f"{name} ({len(seen)})" for name, seen in found.items()) or "none"
