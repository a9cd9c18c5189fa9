"""LoRA Select: some layers of a LoRA, and all the others."""

from typing import Any

from comfy_api.latest import io

from ..core import EmptyRest, Output, StateDict, select
from . import comfy_bridge, inputs
from .inputs import CATEGORY, chinese
from .wires import edited, named


class LoraAlloySelect(io.ComfyNode):
    """A thin shell around core.select."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloySelect",
            display_name="LoRA Select",
            category=CATEGORY,
            description="Takes the layers of a LoRA that you name, untouched, and hands out the "
            "others as a second LoRA. Both applied together are the original.",
            search_aliases=["lora alloy", "split lora", "extract lora layers", "lora block filter",
                            "lora without text encoder", "remove lora layers",
                            *chinese("LoraAlloySelect")],
            inputs=[
                inputs.lora_input(tooltip="The LoRA to divide."),
                inputs.layers("The layers that lora has; rest has the others."),
            ],
            outputs=[
                inputs.lora_output(tooltip="The LoRA with these layers."),
                inputs.lora_output("rest", "The LoRA with all other layers."),
                inputs.report_output(),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, layers: str = "") -> bool | str:
        return inputs.problem_of(layers)

    @classmethod
    def execute(cls, lora: comfy_bridge.LoraModel, layers: str) -> io.NodeOutput:
        source = named(lora, "lora")
        compute = comfy_bridge.interruptible()
        rest: Any
        try:
            kept, others = select(source, layers, Output(), Output(), compute)
            assert others is not None and isinstance(others.lora, StateDict)
            rest = others.lora
            rest.name = f"rest of {source.name}"
        except EmptyRest as error:
            # Without a rest there is still a LoRA; only what needs the rest fails.
            kept, _ = select(source, layers, Output(), None, compute)
            rest = comfy_bridge.blocked(f"LoRA Select has no rest: {error}")
        part, report, ui = edited(kept, [], f"part of {source.name}")
        return io.NodeOutput(part, rest, report, ui=ui)
