"""Save LoRA: a LORA_MODEL as a new file, tensor by tensor."""

from collections.abc import Mapping
from pathlib import Path

import torch
from comfy_api.latest import io

from ..core import Lora, LoraError, Output, StateDict
from ..core.running.encoding import cast
from ..core.running.metadata import HASHES
from ..core.running.output import DTYPES
from ..core.running.report import megabytes
from ..core.storage.files import FileSink, header_bound
from . import comfy_bridge, inputs
from .inputs import CATEGORY, OUTPUT_DTYPES
from .wires import named


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
                            "lora metadata"],
            is_output_node=True,
            inputs=[
                inputs.lora_input(tooltip="The LoRA to save."),
                io.String.Input("filename_prefix", default="loras/alloy",
                                tooltip="Folder and name inside ComfyUI's output folder; a number "
                                "is added. Keep loras/ in front, so that loaders find the file."),
                io.Combo.Input("dtype", options=list(OUTPUT_DTYPES), default="match",
                               tooltip="The number format of the file: match keeps each tensor's "
                               "own; fp16 and bf16 halve the size of an fp32 file."),
                io.String.Input("metadata", default="", multiline=True, advanced=True,
                                tooltip="Metadata to add or replace, one 'key: value' a line, "
                                "such as 'modelspec.title: My blend'. A key without a value is "
                                "removed."),
            ],
            outputs=[
                io.String.Output("path", display_name="path",
                                 tooltip="The path of the file that was written."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, lora: comfy_bridge.LoraModel, filename_prefix: str, dtype: str, metadata: str
    ) -> io.NodeOutput:
        source = named(lora, "lora")
        entries = dict(source.metadata)
        entries |= comfy_bridge.workflow_metadata(cls.hidden)
        for key, value in parse_metadata(metadata).items():
            entries[key] = value
            if not value:
                del entries[key]
        path = comfy_bridge.new_output_path(filename_prefix)
        write(source, path, Output(dtype=dtype).dtype, entries)
        size = megabytes(path.stat().st_size)
        comfy_bridge.show_on_node(cls, f"saved as {path.name}, {size}")
        return io.NodeOutput(str(path), ui={"text": [str(path)]})


def parse_metadata(text: str) -> dict[str, str]:
    """Lines `key: value` as a dict. Raises LoraError for a line without a key or a colon."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, colon, value = line.partition(":")
        if not colon or not key.strip():
            raise LoraError(f"metadata line {line!r} must read 'key: value'")
        found[key.strip()] = value.strip()
    return found


def write(lora: StateDict, path: Path, dtype: str, metadata: Mapping[str, str]) -> None:
    """The tensors as they stand, or with all factors in another dtype, as a safetensors file.

    Raises LoraError for a dict without a LoRA in it.
    """
    read = Lora(lora)
    entries = dict(metadata)
    wanted: torch.dtype | None = DTYPES.get(dtype)
    castable: set[str] = set()
    if wanted is not None:
        castable = {
            key
            for module in read.modules.values()
            for role, key in module.adapter.keys.items()
            if role != "alpha" and read.tensors.info[key].dtype.is_floating_point
        }
        if any(read.tensors.info[key].dtype != wanted for key in castable):
            # Hashes of other bytes would make programs take the file for another one.
            entries = {key: value for key, value in entries.items() if key not in HASHES}
    # Untouched files keep their keys; the library knows a few publishers' by other names.
    keys = list(lora) if wanted is None else list(read.tensors.info)
    size = sum(2 * len(key) + 2 * len(value) + 32 for key, value in entries.items())
    with FileSink(path, header_bound(keys, size)) as sink:
        for key in keys:
            comfy_bridge.stop_if_interrupted()
            tensor = lora[key] if wanted is None else read.tensors[key]
            sink.put(key, cast(tensor, wanted, key) if wanted and key in castable else tensor)
        sink.finish(entries)
