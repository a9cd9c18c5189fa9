"""What travels between nodes: LoRAs with a name for messages, and the results of edits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core import BaseModel, Edited, Lora, SettingError, StateDict, quoting
from . import comfy_bridge, tables
from .comfy_bridge import LoraModel


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


def on_base(
    loras: Sequence[StateDict], model: Any, clip: Any, device: str
) -> tuple[list[StateDict | Lora], BaseModel | None, list[str]]:
    """(LoRAs, read with the base model where one is connected; that model, what to say of it)."""
    if model is None and clip is None:
        return list(loras), None, []
    base = comfy_bridge.base_model(model, clip, device)
    notes = comfy_bridge.patched_note("base_model", model, clip)
    return [Lora(lora, base=base) for lora in loras], base, notes


def edited(
    result: Edited, notes: list[str], name: str, made_of: Callable[[Any], str] = lambda row: ""
) -> tuple[StateDict, str, dict[str, list[Any]]]:
    """(the LoRA, its report as Markdown, what the page shows) of an edit in memory.

    The LoRA is named for the next node. `made_of` says what one of its modules is made of.
    """
    assert isinstance(result.lora, StateDict)
    result.lora.name = name
    table = tables.of_report(result.report, made_of)
    ui = shown(*result.report.headline(), *notes, table=table)
    report = replace(result.report, notes=[*result.report.notes, *notes])
    return result.lora, report.markdown(), ui


def shown(*lines: str, **more: Any) -> dict[str, list[Any]]:
    """What the page's script shows on the node: lines of a fact each, and what else it knows of.

    It travels as the node's own output: to the page that ran it and no other, and again whenever
    the result comes from the cache.
    """
    return {"lora_alloy": [{"lines": [quoting.terminal(line) for line in lines], **more}]}
