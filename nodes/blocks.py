"""LoRA Blocks: one LoRA with a strength of its own for every block."""

from comfy_api.latest import io

from ..core import Blend, Lora, Output, blend, layer_weights
from . import comfy_bridge, inputs
from .inputs import CATEGORY, chinese
from .tables import weighed
from .wires import edited, named


class LoraAlloyBlocks(io.ComfyNode):
    """A blend of one. What the page's sliders write is the text of block_weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloyBlocks",
            display_name="LoRA Blocks",
            category=CATEGORY,
            description="A slider for every block of a LoRA: make it stronger, weaker, negative or "
            "leave it out. For every model family; layers that stay at 1 are copied to the bit.",
            search_aliases=["lora alloy", "lora block weight", "lora block sliders",
                            "lora strength", "block weights", "mute lora blocks", "scale lora",
                            *chinese("LoraAlloyBlocks")],
            inputs=[
                inputs.lora_input(tooltip="The LoRA whose blocks are weighed."),
                io.Float.Input("strength", default=1.0, min=-100.0, max=100.0, step=0.01,
                               tooltip="The strength of the whole LoRA, times that of each block. "
                               "May be negative."),
                io.String.Input("block_weights", default="", multiline=True,
                                tooltip="What the sliders say, as text: a line 'pattern: factor' "
                                "each, such as 'double_blocks.0-9: 0.5'. The last line that fits "
                                "a layer counts; what no line fits stays at 1. Vectors and presets "
                                "such as lbw=OUTD are read for SD1.5, SDXL and Flux."),
                inputs.layers("The layers that the result has."),
                inputs.compute_device(),
                inputs.compute_dtype(),
                inputs.output_dtype(),
                inputs.spelling(),
            ],
            outputs=[inputs.lora_output(tooltip="The LoRA with these strengths."),
                     inputs.report_output()],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        lora: comfy_bridge.LoraModel,
        strength: float,
        block_weights: str,
        layers: str,
        compute_device: str,
        compute_dtype: str,
        output_dtype: str,
        spelling: str,
    ) -> io.NodeOutput:
        source = named(lora, "lora")
        settings = Blend([strength], rank="full", layers=layers, block_weights=block_weights)
        output = Output(dtype=output_dtype, spelling=spelling)
        result, notes = comfy_bridge.compute(
            lambda compute: blend([source], None, settings, output, compute),
            compute_device,
            inputs.dtype_of(compute_dtype),
            [source],
        )
        factors, _ = layer_weights([Lora(source)], block_weights)
        made_of = weighed([str(source.name)], [strength], factors)
        lora, report, ui = edited(result, notes, f"{source.name} by block", made_of)
        return io.NodeOutput(lora, report, ui=ui)
