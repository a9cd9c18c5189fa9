"""LoRA Rank Resize: the same LoRA with fewer ranks, by one of several rules."""

from typing import Any

from comfy_api.latest import io, ui

from ..core import Output, RankRule, rank_chart, resize
from . import comfy_bridge, inputs
from .inputs import CATEGORY, options_of
from .pictures import image_of
from .wires import edited, named

# The widget's words -> (the library's rule, the name of its number).
RULES = {
    "fixed rank": ("rank", "rank"),
    "energy": ("energy", "share"),
    "singular value ratio": ("sv_ratio", "ratio"),
    "cumulative": ("sv_cumulative", "share"),
    "Frobenius": ("sv_fro", "share"),
    "knee": ("knee", None),
    "file size in MB": ("megabytes", "megabytes"),
}


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
                            "resize lora", "smaller lora", "lora dim"],
            inputs=[
                inputs.lora_input(),
                _rule(),
                inputs.layers("Resize only these layers and leave the others as they are."),
                io.Int.Input("min_rank", default=1, min=1, max=4096, advanced=True,
                             tooltip="Every layer keeps at least this rank."),
                io.Int.Input("max_rank", default=0, min=0, max=4096, advanced=True,
                             tooltip="No layer keeps more than this rank. 0 is no limit."),
                inputs.compute_device(),
                inputs.compute_dtype(),
                inputs.output_dtype(),
                inputs.spelling(),
            ],
            outputs=[
                inputs.lora_output(tooltip="The smaller LoRA."),
                inputs.report_output(),
                io.Image.Output("chart", display_name="chart",
                                tooltip="Rank and kept energy of every layer, in the network's "
                                "order. It is shown on the node, too."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

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
        rule: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        chosen = options_of(rule, "rule", list(RULES))
        name, number = RULES[chosen["rule"]]
        value = float(chosen[number]) if number else 0.0
        settings = RankRule(name, value, min_rank, max_rank or None)
        source = named(lora, "lora")
        output = Output(dtype=output_dtype, spelling=spelling)
        result, notes = comfy_bridge.compute(
            lambda compute: resize(source, settings, layers, output, compute),
            compute_device,
            inputs.dtype_of(compute_dtype),
            [source],
        )
        smaller, report = edited(cls, result, notes, f"{source.name} resized")

        chart = image_of(rank_chart(result.report))
        return io.NodeOutput(smaller, report, chart, ui=ui.PreviewImage(chart, cls=cls))


def _rule() -> Any:
    def share(default: float) -> Any:
        return io.Float.Input("share", default=default, min=0.001, max=1.0, step=0.001,
                              round=0.0001,
                              tooltip="How much each layer keeps: of its energy (the sum of "
                              "squared singular values), of the sum of its singular values, or of "
                              "its Frobenius norm. 1 keeps all.")  # fmt: skip

    return io.DynamicCombo.Input(
        "rule",
        options=[
            io.DynamicCombo.Option("fixed rank", [
                io.Int.Input("rank", default=16, min=1, max=4096,
                             tooltip="Every layer gets this rank, or its own where that is "
                             "lower."),
            ]),
            io.DynamicCombo.Option("energy", [share(0.95)]),
            io.DynamicCombo.Option("singular value ratio", [
                io.Float.Input("ratio", default=10.0, min=1.0, max=1e6, step=0.1,
                               tooltip="Keep singular values of at least the largest divided by "
                               "this."),
            ]),
            io.DynamicCombo.Option("cumulative", [share(0.9)]),
            io.DynamicCombo.Option("Frobenius", [share(0.975)]),
            io.DynamicCombo.Option("knee", []),
            io.DynamicCombo.Option("file size in MB", [
                io.Float.Input("megabytes", default=50.0, min=0.01, max=1e5, step=0.1,
                               tooltip="The LoRA is at most this large (10^6 bytes; the workflow "
                               "that Save LoRA embeds is extra). The ranks go to the layers where "
                               "they matter most."),
            ]),
        ],
        tooltip="How many ranks each layer keeps: the same number everywhere, as many as a share "
        "of its content needs, up to the knee of its spectrum, or what fits into a file size.",
    )  # fmt: skip
