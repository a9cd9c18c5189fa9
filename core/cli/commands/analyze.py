"""The command analyze."""

from __future__ import annotations

import argparse
import shutil
from math import isfinite
from typing import TYPE_CHECKING, Any

from ...insight.analysis import STATISTICS, analyze_lora, csv_text, sort_table
from ...insight.charts import CHARTS, chart
from ...insight.drawing import save_chart, shorten
from ...insight.importance import ENERGY, IMPORTANCES, SPECTRAL_NORM, explain, importance_table
from ...storage.atomic import write_file
from ..computing import computing
from ..options import SELECTOR_HELP, compute_options, json_option, opened, reading_options
from ..outputs import CHART, CSV, claim, force_option
from ..parser import Parser
from ..printing import line, print_json, say

if TYPE_CHECKING:
    import pandas as pd


# Column -> its heading, in two lines, and format on a terminal; what matters most comes first.
SHOWN = {
    "rank": (" rank", "{:.0f}"),
    "dW.svd.spectral_norm": ("spectral norm", "{:.4g}"),
    "dW.energy_share": (" energy", "{:.2%}"),
    "effective_rank": ("effective rank", "{:.1f}"),
    "dW.norms.l2": ("Frobenius norm", "{:.4g}"),
    "stable_rank": ("stable rank", "{:.2f}"),
    "dW.softmax_norm": (" softmax", "{:.2%}"),
}
SORTED_BY = ("dW.svd.spectral_norm", "dW.energy_share")  # the first that was measured
NAME = 36  # characters of a layer's name are worth more than another column


def options(parser: Parser) -> None:
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
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
    chart_options(parser, "blocks")
    force_option(parser)
    compute_options(parser)
    json_option(parser)
    reading_options(parser)


def chart_options(parser: Parser, kind: str) -> None:
    parser.add_argument("--chart", metavar="F", help="draw a chart into this .png or .svg file")
    parser.add_argument(
        "--chart-kind", choices=CHARTS, default=kind, help="what to draw (default %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    if options.top < 0:
        options.parser.error(f"--top {options.top} must be 0 or more")
    claim(options, [options.lora], (options.csv, CSV), (options.chart, CHART))
    lora = opened(options.lora, options)
    with computing(options, "analyze") as compute:
        table = analyze_lora(
            lora,
            svd_topk=options.singular_values,
            statistics=options.statistics,
            layers=options.layers,
            compute=compute,
        )
    sort_by = options.sort_by or next(column for column in SORTED_BY if column in table)
    table = sort_table(table, sort_by, options.ascending)
    if options.csv:
        write_file(options.csv, csv_text(table).encode("utf-8", "backslashreplace"), options.force)
    if options.chart:
        save_chart(chart(table, options.chart_kind), options.chart, options.force)
    texts = [*_texts(table), *table.attrs["notes"], *lora.notes]
    if options.json:
        print_json(table.attrs | {"text": texts, "rows": rows_of(table)}, options)
        return
    _print_layers(table, sort_by, options.top)
    say(texts)
    for path in filter(None, (options.csv, options.chart)):
        line(f"written: {path}")


def _texts(table: pd.DataFrame) -> list[str]:
    """What a person should know of the whole file."""
    missing = table[table["not_measured"] != ""]
    lines = []
    if len(missing):
        reason = missing["not_measured"].iloc[0]
        lines.append(f"not measured: {len(missing)} of {len(table)} layers, the first: {reason}")
    if table["block"].notna().any() and len(missing) < len(table):
        for importance in IMPORTANCES[::-1] if SPECTRAL_NORM in table else [ENERGY]:
            lines += explain(importance_table(table, importance), importance, 0.9)
    return list(dict.fromkeys(lines))


def _print_layers(table: pd.DataFrame, sort_by: str, count: int) -> None:
    shown = {column: how for column, how in SHOWN.items() if column in table.columns}
    if sort_by not in ("module", "layer", *shown):
        shown = {sort_by: (f" {sort_by}", "{:.5g}"), **shown}
    head = table.head(count)
    room = shutil.get_terminal_size((120, 20)).columns
    columns: list[list[str]] = []
    for column, (heading, form) in shown.items():
        cells = [*heading.split(" "), *(_cell(value, form) for value in head[column])]
        width = max(map(len, cells)) + 2
        if columns and room - width < NAME:
            break
        room -= width
        columns.append([f"{cell:>{width}}" for cell in cells])
    names = ["", "layer", *(shorten(str(name), max(room, NAME)) for name in head["module"])]
    width = max(map(len, names))
    for name, *cells in zip(names, *columns, strict=True):
        line((f"{name:<{width}}" + "".join(cells)).rstrip())
    hidden = [heading.strip() for heading, _ in list(shown.values())[len(columns) :]]
    if hidden:
        line(f"(no room for {', '.join(hidden)}: a wider window, --csv)")
    if len(table) > count:
        line(f"({len(table) - count} more layers: --top, --csv)")


def _cell(value: Any, form: str) -> str:
    if isinstance(value, str) or value is None:
        return str(value or "-")
    return form.format(value) if isfinite(value) else "-"


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]
