"""LoRA Rank Resize: the same LoRA with fewer ranks, by one of several rules."""

from typing import Any

from comfy_api.latest import io, ui

from ..core import Output, rank_chart, resize
from . import comfy_bridge, inputs
from .inputs import CATEGORY, RULES, chinese
from .pictures import image_of
from .wires import edited, named, on_base


class LoraAlloyRankResize(io.ComfyNode):
    """A thin shell around core.resize."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloyRankResize",
            display_name="LoRA Rank Resize",
            category=CATEGORY,
            description="Makes a LoRA smaller by keeping only as many ranks per layer as a rule "
            "asks for. What is kept is the best that this many ranks can hold.",
            search_aliases=["lora alloy", "shrink lora", "compress lora", "reduce lora rank",
                            "resize lora", "smaller lora", "lora dim",
                            *chinese("LoraAlloyRankResize")],
            inputs=[
                inputs.lora_input(),
                inputs.rank_rule("rule", RULES),
                inputs.layers("Resize only these layers and leave the others as they are."),
                *inputs.rank_limits(),
                inputs.compute_device(),
                inputs.compute_dtype(),
                inputs.output_dtype(),
                inputs.spelling(),
                inputs.theme(),
                *inputs.base_inputs(),
            ],
            outputs=[
                inputs.lora_output(tooltip="The smaller LoRA."),
                inputs.report_output(),
                io.Image.Output("chart", display_name="chart",
                                tooltip="Rank and kept energy of every layer, in the network's "
                                "order. It is shown on the node, too."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, layers: str = "", *, rule: Any = None) -> bool | str:
        return inputs.problem_of(layers)

    @classmethod
    def execute(
        cls,
        lora: comfy_bridge.LoraModel,
        layers: str,
        min_rank: int,
        max_rank: int,
        compute_device: str,
        compute_dtype: str,
        output_dtype: str,
        spelling: str,
        theme: str,
        base_model: Any = None,
        base_clip: Any = None,
        rule: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        settings = inputs.rank_rule_of(rule, "rule", RULES, min_rank, max_rank)
        source = named(lora, "lora")
        output = Output(dtype=output_dtype, spelling=spelling)
        (opened,), base, told = on_base([source], base_model, base_clip, compute_device)
        result, notes = comfy_bridge.compute(
            lambda compute: resize(opened, settings, layers, output, compute),
            compute_device,
            inputs.dtype_of(compute_dtype),
            [source],
            base,
        )
        smaller, report, status = edited(result, [*told, *notes], f"{source.name} resized")
        chart = image_of(rank_chart(result.report, theme=inputs.theme_of(theme)))
        preview = ui.PreviewImage(chart, cls=cls).as_dict()
        return io.NodeOutput(smaller, report, chart, ui=preview | status)
