"""Save LoRA: a LORA_MODEL as a new file, tensor by tensor."""

from collections.abc import Mapping
from pathlib import Path

from comfy_api.latest import io

from ..core import (
    DTYPE_CHOICES,
    METADATA_CHOICES,
    FileError,
    Occupied,
    SettingError,
    StateDict,
    Wishes,
    megabytes,
    save,
)
from ..core import verify as verify_file
from . import comfy_bridge, inputs
from .file_names import resolved
from .inputs import CATEGORY, chinese
from .wires import named, shown

ROUNDING = 0.01  # more than bf16 costs, which has 8 bits
OUTSIDE = "Save LoRA: a stack names files of the loras folders; begin filename_prefix with loras/"


class LoraAlloySave(io.ComfyNode):
    """Never overwrites: every run writes the next number."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloySave",
            display_name="Save LoRA",
            category=CATEGORY,
            description="Writes a LoRA to a new .safetensors file in ComfyUI's output folder, with "
            "its metadata and this workflow. Files under loras/ appear in the LoRA lists at once "
            "(press R).",
            search_aliases=["lora alloy", "export lora", "write lora", "save lora weights",
                            "lora metadata", "lora trigger words",
                            *chinese("LoraAlloySave")],
            is_output_node=True,
            inputs=[
                inputs.lora_input(tooltip="The LoRA to save."),
                io.String.Input("filename_prefix", default="loras/alloy",
                                tooltip="Folder and name inside ComfyUI's output folder; a number "
                                "is added. Keep loras/ in front, so that loaders find the file. "
                                "%date:yyyy-MM-dd% is the day, %KSampler.seed% what a node's "
                                "widget says."),
                io.String.Input("title", default="",
                                tooltip="What the file calls itself in LoRA managers "
                                "(modelspec.title). Empty: its own title, or the file's name."),
                io.String.Input("trigger_words", default="",
                                tooltip="Words for the prompt, separated by commas "
                                "(modelspec.trigger_phrase). Empty: those of the LoRAs that it was "
                                "made of."),
                io.Combo.Input("dtype", options=list(DTYPE_CHOICES), default="match",
                               tooltip="The number format of the file: match keeps each tensor's "
                               "own; fp16 and bf16 halve the size of an fp32 file."),
                io.Combo.Input("keep_metadata", options=list(METADATA_CHOICES), default="keep",
                               advanced=True,
                               tooltip="keep writes everything that is true, with the recipe and "
                               "this workflow; minimal only what other programs need; none "
                               "nothing but what you say here."),
                io.String.Input("metadata", default="", multiline=True, advanced=True,
                                tooltip="Metadata to add or replace, one 'key: value' a line, "
                                "such as 'modelspec.title: My blend'. A key without a value is "
                                "removed."),
                io.Boolean.Input("verify", default=False, advanced=True,
                                 tooltip="Read the file again and measure it against the LoRA: a "
                                 "disk that writes something else is noticed."),
            ],
            outputs=[
                io.String.Output("path", display_name="path",
                                 tooltip="The path of the file that was written."),
                inputs.LoraStack.Output("lora_stack", display_name="lora_stack",
                                        tooltip="The file at strength 1, for nodes of other packs "
                                        "that apply a stack of LoRAs."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, filename_prefix: str = "", metadata: str = "") -> bool | str:
        return inputs.problem_of(
            "",
            lambda: comfy_bridge.checked_prefix(resolved(filename_prefix or "x", {})),
            lambda: wishes_of("", "", "keep", metadata or ""),
        )

    @classmethod
    def execute(
        cls,
        lora: comfy_bridge.LoraModel,
        filename_prefix: str,
        title: str,
        trigger_words: str,
        dtype: str,
        keep_metadata: str,
        metadata: str,
        verify: bool,
    ) -> io.NodeOutput:
        source = named(lora, "lora")
        wishes = wishes_of(title, trigger_words, keep_metadata, metadata)
        entries = source.metadata | comfy_bridge.workflow_metadata(cls.hidden)
        prompt = getattr(cls.hidden, "prompt", None) or {}
        prefix = comfy_bridge.checked_prefix(resolved(filename_prefix, prompt))
        path = _save_as_next(prefix, source, dtype, entries, wishes)
        told = [f"saved as {path.name}", megabytes(path.stat().st_size)]
        if verify:
            told.append(f"read again, relative error {_checked(path, source):.3g}")
        name = comfy_bridge.name_in_lora_folders(path)
        stack = [(name, 1.0, 1.0)] if name else comfy_bridge.blocked(OUTSIDE)
        return io.NodeOutput(str(path), stack, ui=shown(*told))


def _save_as_next(
    prefix: str, source: StateDict, dtype: str, entries: Mapping[str, str], wishes: Wishes
) -> Path:
    """Save under the next free number, and return the path."""
    compute = comfy_bridge.interruptible()
    while True:
        path = comfy_bridge.new_output_path(prefix)
        try:
            return save(source, path, dtype, entries, compute, wishes, replace=False)
        except Occupied:
            continue  # Another execution took the number meanwhile, here or in another server.


def _checked(path: Path, source: StateDict) -> float:
    """The relative error of the file, which is that of its number format.

    Raises FileError where it is more than any format's or something is missing.
    """
    report = verify_file(path, [source], [1.0])
    missing = [row.module for row in report.modules if row.action == "missing"]
    if missing or report.relative_error > ROUNDING:
        what = f"it lacks {missing[0]}" if missing else f"its error is {report.relative_error:.3g}"
        raise FileError(
            f"was read again, and {what}",
            fix="write fp32 if its numbers are very small, otherwise check the disk; save again",
            file=path.name,
        )
    return report.relative_error


def wishes_of(title: str, trigger_words: str, keep: str, text: str) -> Wishes:
    """The widgets as wishes; a line of the text counts more than a widget of its own."""
    lines = parse_metadata(text)
    named = {"modelspec.title": title.strip(), "modelspec.trigger_phrase": trigger_words.strip()}
    told = {key: value for key, value in named.items() if value}
    told |= {key: value for key, value in lines.items() if value}
    gone = tuple(key for key, value in lines.items() if not value)
    return Wishes(keep, tuple((k, v) for k, v in told.items() if k not in gone), gone)


def parse_metadata(text: str) -> dict[str, str]:
    """Lines `key: value` as a dict. Raises SettingError for a line without a key or a colon."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, colon, value = line.partition(":")
        if not colon or not key.strip():
            raise SettingError(f"metadata line {line!r}", fix="it must read 'key: value'")
        found[key.strip()] = value.strip()
    return found
