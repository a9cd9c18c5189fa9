"""What a LoRA holds, block by block, from the header alone: for pages that show a file at once."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..naming.blocks import TEXT_ENCODER, container_of, locate, network_order
from ..reading.lora import Lora
from ..reading.module import Module
from ..running.report import megabytes
from ..running.united import trigger_words

TITLES = ("modelspec.title", "ss_output_name")
# What a selector reads as a name and nothing else: other people's names can hold its signs.
NAME = re.compile(r"[\w.]+")


def contents(lora: Lora) -> dict[str, Any]:
    """What a page shows of a `lora` before anything is computed, for JSON; no tensor is read.

    A dict: name, title, trigger_words, facts (label and text each), warnings (sentences: what no
    edit can change), notes, groups. A group has a name, a component, parameters (how many numbers
    are stored) and blocks in the network's order. A block has a name, a pattern (what selectors
    take, None where its name cannot be one), parameters and layers: [end of the name after the
    pattern, layer type, parameters].

    >>> found = core.contents(core.Lora(core.samples()[1]))
    >>> [(group["name"], len(group["blocks"])) for group in found["groups"]]
    [('double_blocks', 2), ('single_blocks', 4)]
    """
    modules = list(lora.modules.values())
    parameters = sum(map(_parameters, modules))
    return {
        "name": lora.name,
        "title": next((lora.metadata[key] for key in TITLES if lora.metadata.get(key)), ""),
        "trigger_words": trigger_words(lora.metadata),
        "facts": [
            ["model", str(lora.recognition)],
            ["modules", f"{len(modules)}, {_amount(parameters)} parameters"],
            ["kinds", _counts(m.adapter.kind.name for m in modules)],
            ["ranks", _counts("none" if m.rank is None else str(m.rank) for m in modules)],
            ["numbers", _counts(str(m.dtype).removeprefix("torch.") for m in modules)],
            ["size", megabytes(lora.file_bytes)],
        ],
        "warnings": _untouched(modules),
        "notes": lora.notes,
        "groups": _groups(lora),
    }


def _counts(values: Iterable[str]) -> str:
    """`8`, or `8 (20), 4 (8)` with how many have each, the most frequent first."""
    counts = Counter(values).most_common()
    return ", ".join(f"{one} ({count})" if len(counts) > 1 else one for one, count in counts)


def _amount(count: int) -> str:
    """`12.6 M`: three digits of a number."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {sign}"
    return str(count)


def _parameters(module: Module) -> int:
    """The numbers that are stored for a module, without its alpha."""
    info = module.tensors.info
    keys = (key for role, key in module.adapter.keys.items() if role != "alpha")
    return sum(info[key].bytes // info[key].dtype.itemsize for key in keys)


def _untouched(modules: list[Module]) -> list[str]:
    """Of the kinds that no edit can change, because they need the base model."""
    kinds = Counter(m.adapter.kind for m in modules if m.adapter.kind.update is None)
    return [
        f"{count} of {len(modules)} modules are {kind.name}: {kind.needs_base}. No edit can change "
        + "; ".join(filter(None, ("them", kind.way_out)))
        for kind, count in kinds.most_common()
    ]


def _groups(lora: Lora) -> list[dict[str, Any]]:
    """Blocks by container, then what is outside any block, a layer each."""
    groups: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for name, module in lora.modules.items():
        place = locate(name)
        row, prefix = place.block or name, place.prefix or name
        group = (
            container_of(place.block) if place.block else f"outside any block: {place.component}"
        )
        pattern = prefix if NAME.fullmatch(prefix) else None
        blocks = groups.setdefault((place.component, group), {})
        fresh: dict[str, Any] = {"name": row, "pattern": pattern, "parameters": 0, "layers": []}
        block = blocks.setdefault(row, fresh)
        size = _parameters(module)
        block["parameters"] += size
        block["layers"].append([name[len(prefix) :], place.layer_type, size])
    return [
        {
            "name": name,
            "component": component,
            "parameters": sum(block["parameters"] for block in blocks.values()),
            "blocks": sorted(blocks.values(), key=lambda block: network_order(block["name"])),
        }
        for (component, name), blocks in sorted(groups.items(), key=_order)
    ]


def _order(item: tuple[tuple[str, str], dict[str, Any]]) -> Any:
    """The diffusion model's containers as it runs through them, what is outside, text encoders."""
    (component, name), blocks = item
    outside = name.startswith("outside any block")
    return component == TEXT_ENCODER, outside, network_order(next(iter(blocks)))
