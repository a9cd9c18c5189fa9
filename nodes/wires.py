"""What travels between nodes: LoRAs with a name for messages, and the results of edits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..core import Edited, Report, SettingError, StateDict, quoting
from .comfy_bridge import LoraModel

# A list of more layers than this with one fate becomes a number with examples.
LISTED = 5


def named(lora: LoraModel, socket: str) -> StateDict:
    """A LORA_MODEL with a name that messages can use; ours have one, core's are plain dicts."""
    if isinstance(lora, StateDict) and lora.name:
        return lora
    if not isinstance(lora, Mapping):
        raise SettingError(
            f"{socket}: expected a LoRA, got a {type(lora).__name__}",
            fix="connect Load LoRA for Editing, Train LoRA or another LoRA Alloy node",
        )
    return StateDict(lora, getattr(lora, "metadata", None), f"the LoRA at {socket}")


def edited(
    result: Edited, notes: list[str], name: str
) -> tuple[StateDict, str, dict[str, list[Any]]]:
    """(the LoRA, its report as Markdown, what the page shows) of an edit in memory.

    The LoRA is named for the next node.
    """
    assert isinstance(result.lora, StateDict)
    result.lora.name = name
    ui = shown(*result.report.headline(), *notes)
    return result.lora, markdown(result.report, notes), ui


def shown(*lines: str, **more: Any) -> dict[str, list[Any]]:
    """What the page's script shows on the node: lines of a fact each, and what else it knows of.

    It travels as the node's own output: to the page that ran it and no other, and again whenever
    the result comes from the cache.
    """
    return {"lora_alloy": [{"lines": [quoting.terminal(line) for line in lines], **more}]}


def markdown(report: Report, notes: list[str]) -> str:
    """The report with these notes, and with long lists of layers cut down to a line."""
    short = replace(
        report,
        notes=[*report.notes, *notes],
        carried=_grouped(report.carried),
        dropped=_grouped(report.dropped),
    )
    return short.markdown()


def _grouped(entries: Mapping[str, str]) -> dict[str, str]:
    """{layer: reason} with one entry for all layers that share a reason, where they are many."""
    reasons: dict[str, list[str]] = {}
    for name, reason in entries.items():
        reasons.setdefault(reason, []).append(name)
    result: dict[str, str] = {}
    for reason, names in reasons.items():
        if len(names) > LISTED:
            names = [f"{len(names)} of them, such as {', '.join(names[:3])}"]
        result |= {name: reason for name in names}
    return result
