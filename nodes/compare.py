"""LoRA Compare: do two LoRAs fight, where, and which weights make peace?"""

from typing import Any

from comfy_api.latest import io, ui

from ..core import (
    SUGGESTIONS,
    Comparison,
    block_weights,
    compare,
    comparison_chart,
    markdown_table,
    quoting,
)
from . import comfy_bridge, inputs, tables
from .inputs import CATEGORY, chinese
from .pictures import image_of
from .wires import named, shown

COLUMNS = {
    "first_norm": "norm of A",
    "second_norm": "norm of B",
    "cosine": "cosine",
    "interference": "interference",
    "first_in_columns": "A in B, out",
    "first_in_rows": "A in B, in",
    "second_in_columns": "B in A, out",
    "second_in_rows": "B in A, in",
}


class LoraAlloyCompare(io.ComfyNode):
    """A thin shell around core.compare."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloyCompare",
            display_name="LoRA Compare",
            category=CATEGORY,
            description="Holds two LoRAs against each other, block by block: do they pull the "
            "same way, against each other, or hardly touch? Suggests weights for a blend in which "
            "each keeps its own effect.",
            search_aliases=["lora alloy", "do loras fight", "lora conflict", "lora similarity",
                            "lora difference", "compare lora", "duplicate lora",
                            *chinese("LoraAlloyCompare")],
            # Its chart is on the node: it runs without anything connected behind it.
            is_output_node=True,
            inputs=[
                inputs.lora_input("lora_1", "The first LoRA, A in the report."),
                inputs.lora_input("lora_2", "The second LoRA, for the same base model, B in the "
                                  "report."),
                inputs.layers("The layers that are compared."),
                io.Combo.Input("suggest", options=list(SUGGESTIONS), default="block",
                               tooltip="What the suggested weights are for: each file as a whole, "
                               "or each block of it."),
                inputs.compute_device(),
                inputs.compute_dtype(),
                inputs.theme(),
            ],
            outputs=[
                io.String.Output("report", display_name="report",
                                 tooltip="What the two have in common, as Markdown. Connect it to "
                                 "Preview as Text."),
                io.String.Output("block_weights", display_name="block_weights",
                                 tooltip="Weights with which each LoRA keeps its own effect, for "
                                 "block_weights of LoRA Blend at weights of 1."),
                io.Image.Output("chart", display_name="chart",
                                tooltip="The cosine of every block in the network's order, and the "
                                "strength of both. It is shown on the node, too."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, layers: str = "") -> bool | str:
        return inputs.problem_of(layers)

    @classmethod
    def execute(
        cls,
        lora_1: comfy_bridge.LoraModel,
        lora_2: comfy_bridge.LoraModel,
        layers: str,
        suggest: str,
        compute_device: str,
        compute_dtype: str,
        theme: str,
    ) -> io.NodeOutput:
        loras = [named(lora_1, "lora_1"), named(lora_2, "lora_2")]
        found, notes = comfy_bridge.compute(
            lambda compute: compare(loras, layers, compute=compute),
            compute_device,
            inputs.dtype_of(compute_dtype),
            loras,
        )
        picture = image_of(comparison_chart(found, theme=inputs.theme_of(theme)))
        suggested = "\n".join(block_weights(found.suggest(by=suggest)))
        preview = ui.PreviewImage(picture, cls=cls).as_dict()
        said = shown(*found.text, *notes, table=tables.of_comparison(found, COLUMNS))
        return io.NodeOutput(markdown(found, notes), suggested, picture, ui=preview | said)


def markdown(found: Comparison, notes: list[str]) -> str:
    """The sentences, and a row for every block."""
    lines = [
        f"## {quoting.markdown(found.names[0])} (A) and {quoting.markdown(found.names[1])} (B)"
    ]
    lines += [f"* {quoting.markdown(line)}" for line in [*found.text, *found.notes, *notes]]
    blocks, total = found.blocks.to_dict("records"), found.total.to_dict("records")
    rows = [[_block(row["block"]), *_cells(row)] for row in blocks]
    rows += [["all", *_cells(row)] for row in total]
    return "\n".join([*lines, "", *markdown_table(["block", *COLUMNS.values()], rows)])


def _cells(row: dict[Any, Any]) -> list[str]:
    values = [float(row[column]) for column in COLUMNS]
    return ["-" if value != value else f"{value:.4g}" for value in values]


def _block(name: Any) -> str:
    return name if isinstance(name, str) else "outside any block"  # pandas has NaN for none
