"""LoRA Convert: the same LoRA under other names or in another number format."""

from typing import Any

from comfy_api.latest import io

from ..core import DTYPE_CHOICES, SPELLING_CHOICES, Output, convert
from . import comfy_bridge, inputs
from .inputs import CATEGORY, chinese
from .wires import edited, named, on_base


class LoraAlloyConvert(io.ComfyNode):
    """A thin shell around core.convert."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloyConvert",
            display_name="LoRA Convert",
            category=CATEGORY,
            description="Writes a LoRA under the names that another program reads, or in another "
            "number format. What it does to a picture stays the same.",
            search_aliases=["lora alloy", "convert lora", "kohya to diffusers", "rename lora keys",
                            "lora format", "lora fp16", "lora bf16", "lora peft",
                            *chinese("LoraAlloyConvert")],
            inputs=[
                inputs.lora_input(tooltip="The LoRA to convert."),
                io.Combo.Input("spelling", options=list(SPELLING_CHOICES), default="match",
                               tooltip="How the layers are named: kohya for A1111, Forge and most "
                               "programs, diffusers for diffusers and PEFT, generic for ComfyUI's "
                               "own names. match keeps the names. ComfyUI reads all of them."),
                io.Combo.Input("dtype", options=list(DTYPE_CHOICES), default="match",
                               tooltip="The number format: fp16 and bf16 halve the size of an "
                               "fp32 file. match keeps that of the LoRA."),
                *inputs.base_inputs(),
            ],
            outputs=[inputs.lora_output(tooltip="The converted LoRA."), inputs.report_output()],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        lora: comfy_bridge.LoraModel,
        spelling: str,
        dtype: str,
        base_model: Any = None,
        base_clip: Any = None,
    ) -> io.NodeOutput:
        source = named(lora, "lora")
        output = Output(dtype=dtype, spelling=spelling)
        (opened,), _, told = on_base([source], base_model, base_clip, "cpu")
        result = convert(opened, output, comfy_bridge.interruptible())
        converted, report, ui = edited(result, told, f"{source.name} converted")
        return io.NodeOutput(converted, report, ui=ui)
