"""LoRA Layer Analysis: what is in a LoRA, layer by layer, as a table and a chart."""

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from ..core import (
    CHARTS,
    ENERGY,
    analyze_lora,
    csv_text,
    explain,
    importance_table,
    markdown_table,
    quoting,
    sort_table,
)
from ..core import chart as draw
from . import comfy_bridge, inputs, tables
from .inputs import CATEGORY, Analysis, chinese
from .pictures import image_of
from .wires import named, on_base, shown

if TYPE_CHECKING:
    from pandas import DataFrame

FILE_ORDER = "file order"
# Columns worth sorting by, the notebook's default first.
SORT_BY = [
    "dW.svd.spectral_norm",
    "dW.energy_share",
    "dW.softmax_norm",
    "dW.norms.l2",
    "dW.svd.nuclear_norm",
    "effective_rank",
    "stable_rank",
    "rank",
    FILE_ORDER,
]
# What the table on the page shows; the csv has everything.
COLUMNS = (
    "module",
    "kind",
    "rank",
    "effective_rank",
    "stable_rank",
    "dW.svd.spectral_norm",
    "dW.norms.l2",
    "dW.energy_share",
    "dW.softmax_norm",
    "relative_norm",
    "base_share",
    "output_angle",
)


class LoraAlloyLayerAnalysis(io.ComfyNode):
    """A thin shell around core.analyze_lora."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloyLayerAnalysis",
            display_name="LoRA Layer Analysis",
            category=CATEGORY,
            description="Measures every layer of a LoRA: how strong it is, how many ranks it "
            "really uses, and where in the network the LoRA does its work.",
            search_aliases=["lora alloy", "inspect lora", "lora statistics", "lora info",
                            "lora spectrum", "layer importance", "analyze lora",
                            *chinese("LoraAlloyLayerAnalysis")],
            # Its chart is on the node: it runs without anything connected behind it.
            is_output_node=True,
            inputs=[
                inputs.lora_input(tooltip="The LoRA to measure."),
                io.Combo.Input("statistics", options=["spectral", "full"], default="spectral",
                               tooltip="spectral takes seconds for any file. full adds exact "
                               "percentiles, extremes and signs of every layer's change, which "
                               "takes minutes for large files."),
                io.Combo.Input("sort_by", options=SORT_BY, default=SORT_BY[0],
                               tooltip="The column by which the table is sorted, largest first."),
                io.Int.Input("rows", default=20, min=1, max=10000,
                             tooltip="How many layers the table shows. The csv has all of them."),
                io.Combo.Input("chart", options=list(CHARTS), default="blocks",
                               tooltip="blocks: importance of every block in the network's order. "
                               "heat map: blocks against kinds of layers. spectrum: singular "
                               "values of the strongest layers. cumulative: how few blocks hold "
                               "most of it."),
                io.Int.Input("top_singular_values", default=8, min=1, max=64, advanced=True,
                             tooltip="How many singular values per layer the csv has and the "
                             "spectrum chart draws."),
                inputs.compute_device(),
                inputs.compute_dtype(),
                inputs.layers("The layers that are measured."),
                inputs.theme(),
                inputs.base_inputs()[0],
            ],
            outputs=[
                Analysis.Output("analysis", display_name="analysis",
                                tooltip="All measurements, for Top Blocks Filter."),
                io.Image.Output("chart", display_name="chart",
                                tooltip="The chosen chart. It is shown on the node, too."),
                io.String.Output("table", display_name="table",
                                 tooltip="The strongest layers as a Markdown table. Connect it to "
                                 "Preview as Text."),
                io.String.Output("csv", display_name="csv",
                                 tooltip="Every layer and every column, for a spreadsheet."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, layers: str = "") -> bool | str:
        return inputs.problem_of(layers)

    @classmethod
    def execute(
        cls,
        lora: comfy_bridge.LoraModel,
        layers: str,
        statistics: str,
        sort_by: str,
        rows: int,
        chart: str,
        top_singular_values: int,
        compute_device: str,
        compute_dtype: str,
        theme: str,
        base_model: Any = None,
    ) -> io.NodeOutput:
        source = named(lora, "lora")
        (opened,), base, told = on_base([source], base_model, None, compute_device)
        table, notes = comfy_bridge.compute(
            lambda compute: analyze_lora(
                opened,
                svd_topk=top_singular_values,
                statistics=statistics,
                layers=layers,
                compute=compute,
            ),
            compute_device,
            inputs.dtype_of(compute_dtype),
            [source],
            base,
        )
        picture = image_of(draw(table, chart, theme=inputs.theme_of(theme)))
        preview = ui.PreviewImage(picture, cls=cls).as_dict()
        notes = [*told, *notes]
        said = shown(
            *sentences(table, notes),
            lora=source.name,
            energy=tables.energy_of(table),
            table=tables.of_analysis(table),
        )
        text = markdown(table, sort_by, rows, notes)
        return io.NodeOutput(table, picture, text, csv_text(table), ui=preview | said)


def sentences(table: "DataFrame", notes: list[str]) -> list[str]:
    """What the analysis says in a few lines."""
    lines = []
    if table["block"].notna().any() and "dW.norms.l2" in table.columns:
        # The softmax has advice of its own; shares of the energy can always be compared.
        lines += explain(importance_table(table, ENERGY), ENERGY, 0.9)
    reasons = table["not_measured"][table["not_measured"] != ""]
    if len(reasons):
        lines.append(f"{len(reasons)} layers could not be measured, such as: {reasons.iloc[0]}")
    return [*lines, *table.attrs.get("notes", []), *notes]


def markdown(table: "DataFrame", sort_by: str, rows: int, notes: list[str]) -> str:
    """The sentences, and the first rows of the table."""
    lines = [f"## {quoting.markdown(table.attrs.get('lora', 'LoRA'))}: {len(table)} layers"]
    lines += [f"* {quoting.markdown(line)}" for line in sentences(table, notes)]
    ordered = table if sort_by == FILE_ORDER else sort_table(table, sort_by)
    present = [column for column in COLUMNS if column in table.columns]
    strongest = ordered[present].head(rows).itertuples(index=False)
    lines += ["", *markdown_table(present, ([_cell(value) for value in row] for row in strongest))]
    if len(table) > rows:
        lines.append(f"\n{len(table) - rows} more layers are in the csv.")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4g}"
    return str(value)
