"""What travels between nodes: LoRAs with a name for messages, and the results of edits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..core import Edited, Report, SettingError, StateDict
from . import comfy_bridge
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


def edited(node: Any, result: Edited, notes: list[str], name: str) -> tuple[StateDict, str]:
    """(the LoRA, its report as Markdown) of an edit in memory, named for the next node.

    What matters most of the report is shown under the node.
    """
    assert isinstance(result.lora, StateDict)
    result.lora.name = name
    comfy_bridge.show_on_node(node, result.report.headline())
    return result.lora, markdown(result.report, notes)


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
