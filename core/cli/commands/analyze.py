"""The command analyze."""

from __future__ import annotations

import argparse
import re
import sys
from math import isfinite
from typing import TYPE_CHECKING, Any

from ...insight.analysis import STATISTICS, analyze_lora, csv_text, sort_table
from ...insight.base_statistics import RELATIVE_NORM
from ...insight.charts import CHARTS, chart
from ...insight.drawing import save_chart
from ...insight.importance import (
    ENERGY,
    FROBENIUS_NORM,
    RELATIVE,
    SOFTMAX,
    SPECTRAL_NORM,
    block_importance_from_energy,
    explain,
    importance_table,
)
from ...naming.blocks import network_order
from ...storage.atomic import write_file
from ..computing import computing
from ..inputs import files_argument, run_options
from ..many import Done, each
from ..options import SELECTOR_HELP, compute_options, json_option, opened, reading_options
from ..outputs import CHART, CSV, force_option, theme_option
from ..parser import Parser
from ..printing import at_terminal, line, say, table, written

if TYPE_CHECKING:
    import pandas as pd


# Column -> its heading and format; what matters most comes first.
SHOWN = {
    "rank": ("rank", "{:.0f}"),
    "dW.svd.spectral_norm": ("spectral norm", "{:.4g}"),
    "dW.energy_share": ("energy", "{:.2%}"),
    "effective_rank": ("effective rank", "{:.1f}"),
    "dW.norms.l2": ("Frobenius norm", "{:.4g}"),
    "stable_rank": ("stable rank", "{:.2f}"),
    RELATIVE_NORM: ("relative norm", "{:.2%}"),
    "base_share": ("base share", "{:.2%}"),
    "dW.softmax_norm": ("softmax", "{:.2%}"),
}
# A heading, as people type it -> its column.
COLUMNS = {heading.lower(): column for column, (heading, _) in SHOWN.items()}
COLUMNS |= {heading.replace(" ", "-"): column for heading, column in COLUMNS.items()}
SORTED_BY = ("dW.svd.spectral_norm", "dW.energy_share")  # the first that was measured


EXAMPLES = """
    # the strongest layers
    lora-alloy analyze style.safetensors --top 10
    # everything, for a spreadsheet, and a picture
    lora-alloy analyze style.safetensors --statistics full --csv style.csv --chart style.png
    # a folder: a line for each file
    lora-alloy analyze loras/ --statistics energy
"""


def options(parser: Parser) -> None:
    files_argument(parser)
    parser.add_argument(
        "--statistics",
        choices=STATISTICS,
        default="spectral",
        help="energy measures norms only, full adds percentiles, signs and extremes of the updates "
        "(default spectral)",
    )
    parser.add_argument("--layers", default="", metavar="SELECTOR", help=SELECTOR_HELP)
    parser.add_argument(
        "--sort-by", metavar="COLUMN", help="default: the spectral norm, or the share of the energy"
    )
    parser.add_argument("--ascending", action="store_true", help="smallest first")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="rows shown (default 20)")
    parser.add_argument(
        "--singular-values", type=int, default=8, metavar="N", help="columns s1 to sN (default 8)"
    )
    parser.add_argument("--csv", metavar="F", help="write all rows and columns to this file")
    parser.add_argument(
        "--intruders",
        action="store_true",
        help="with --base: count the strong directions of the result that are like none of the "
        "base's (takes seconds a layer)",
    )
    chart_options(parser, "blocks")
    force_option(parser)
    compute_options(parser)
    json_option(parser)
    run_options(parser.add_argument_group("several files"))
    reading_options(parser)


def chart_options(parser: Parser, kind: str) -> None:
    parser.add_argument("--chart", metavar="F", help="draw a chart into this .png or .svg file")
    parser.add_argument(
        "--chart-kind",
        type=_chart_kind,
        choices=CHARTS,
        help=f"what --chart draws (default {kind})",
    )
    theme_option(parser)
    parser.set_defaults(default_chart=kind)


def _chart_kind(text: str) -> str:
    """`heat-map` and `heatmap` are the heat map, too."""
    plain = re.sub(r"[ _-]", "", text.lower())
    return next((kind for kind in CHARTS if kind.replace(" ", "") == plain), text)


def check_chart(options: argparse.Namespace) -> None:
    if options.chart_kind and not options.chart:
        options.parser.error("--chart-kind needs --chart F for the picture")
    options.chart_kind = options.chart_kind or options.default_chart


def run(options: argparse.Namespace) -> int:
    if options.top < 0:
        options.parser.error(f"--top {options.top} must be 0 or more")
    check_chart(options)
    return each(options, _analyze, {"csv": CSV, "chart": CHART})


def _analyze(options: argparse.Namespace) -> Done:
    lora = opened(options.lora, options)
    with computing(options, "analyze") as compute:
        found = analyze_lora(
            lora,
            svd_topk=options.singular_values,
            statistics=options.statistics,
            layers=options.layers,
            compute=compute,
            intruders=options.intruders,
        )
    sort_by = options.sort_by or next(column for column in SORTED_BY if column in found)
    found = sort_table(found, COLUMNS.get(sort_by.lower(), sort_by), options.ascending)
    if options.csv:
        write_file(options.csv, csv_text(found).encode("utf-8", "backslashreplace"), options.force)
    if options.chart:
        figure = chart(found, options.chart_kind, theme=options.theme)
        save_chart(figure, options.chart, options.force)
    texts = [*_texts(found), *found.attrs["notes"], *lora.notes]

    def shown() -> None:
        _print_blocks(found)
        _print_layers(found, COLUMNS.get(sort_by.lower(), sort_by), options.top)
        say(texts)
        for path in filter(None, (options.csv, options.chart)):
            written(path)

    told = {**found.attrs, "text": texts, "rows": rows_of(found)}
    return Done(told, shown, _row(found))


def _row(found: pd.DataFrame) -> dict[str, Any]:
    """Of the closing table of many files."""
    measured = found[found["not_measured"] == ""]
    first = "-"
    if measured["block"].notna().any():
        top = rows_of(block_importance_from_energy(measured)[0])[0]
        first = f"{top['block']} ({top['block_importance']:.1%})"
    norm = float((measured["dW.norms.l2"] ** 2).sum()) ** 0.5
    return {">layers": len(found), ">Frobenius norm": f"{norm:.4g}", "most energy in": first}


def _texts(table: pd.DataFrame) -> list[str]:
    """What a person should know of the whole file."""
    missing = table[table["not_measured"] != ""]
    lines = []
    if len(missing):
        reason = missing["not_measured"].iloc[0]
        lines.append(f"not measured: {len(missing)} of {len(table)} layers, the first: {reason}")
    if table["block"].notna().any() and len(missing) < len(table):
        needed = {SOFTMAX: SPECTRAL_NORM, RELATIVE: RELATIVE_NORM, ENERGY: FROBENIUS_NORM}
        for importance in (one for one in (ENERGY, RELATIVE, SOFTMAX) if needed[one] in table):
            lines += explain(importance_table(table, importance), importance, 0.9)
    return list(dict.fromkeys(lines))


def _print_blocks(found: pd.DataFrame) -> None:
    """The energy of each block as a bar, in the network's order; on terminals only."""
    measured = found[found["not_measured"] == ""]
    if not at_terminal(sys.stdout) or not measured["block"].notna().any():
        return
    blocks = rows_of(block_importance_from_energy(measured)[0])
    most = max(row["block_importance"] for row in blocks) or 1.0
    blocks.sort(key=lambda row: network_order(str(row["block"])))
    rows = [
        (
            row["block"],
            f"{row['block_importance']:.2%}",
            row["block_importance"] / most,
            row["layers"],
        )
        for row in blocks
    ]
    table(("block", ">energy", "", ">layers"), rows)
    line()


def _print_layers(found: pd.DataFrame, sort_by: str, count: int) -> None:
    shown = {column: how for column, how in SHOWN.items() if column in found.columns}
    if sort_by not in ("module", "layer", *shown):
        shown = {sort_by: (sort_by, "{:.5g}"), **shown}
    head = found.head(count)
    rows = [
        (row["module"], *(_cell(row[column], form) for column, (_, form) in shown.items()))
        for row in rows_of(head)
    ]
    table(("layer", *(f">{heading}" for heading, _ in shown.values())), rows)
    if len(found) > count:
        say([f"({len(found) - count} more layers: --top, --csv)"], "dim")


def _cell(value: Any, form: str) -> str:
    if isinstance(value, str) or value is None:
        return str(value or "-")
    return form.format(value) if isfinite(value) else "-"


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]
