"""The command compare."""

from __future__ import annotations

import argparse
import shlex
from math import isnan
from typing import TYPE_CHECKING, Any

from ...insight.comparison import FILE, SUGGESTIONS, Comparison, block_weights, compare
from ...insight.comparison_charts import comparison_chart
from ...insight.drawing import save_chart, shorten
from ...quoting import terminal
from ..computing import computing
from ..options import SELECTOR_HELP, compute_options, json_option, opened, reading_options
from ..outputs import CHART, claim, force_option
from ..parser import Parser
from ..printing import line, print_json, say
from .analyze import rows_of

if TYPE_CHECKING:
    import pandas as pd


ROWS = 24  # of blocks: more are for --json


def options(parser: Parser) -> None:
    parser.add_argument("loras", nargs="+", metavar="A", help="two or more .safetensors files")
    parser.add_argument("--layers", default="", metavar="SELECTOR", help=SELECTOR_HELP)
    parser.add_argument(
        "--suggest",
        nargs="?",
        const=FILE,
        choices=SUGGESTIONS,
        help="weights that keep each file's own effect, one for each file or for each block",
    )
    parser.add_argument(
        "--levels", nargs="+", type=float, default=[1.0], metavar="L",
        help="the effect that --suggest keeps of each file; one for each or for all (default 1)",
    )  # fmt: skip
    parser.add_argument(
        "--full", action="store_true", help="count the entries of different signs, too: slower"
    )
    parser.add_argument("--chart", metavar="F", help="draw a chart into this .png or .svg file")
    force_option(parser)
    compute_options(parser)
    json_option(parser)
    reading_options(parser)


def run(options: argparse.Namespace) -> None:
    if len(options.loras) < 2:
        options.parser.error("compare takes two files or more")
    if len(options.levels) not in (1, len(options.loras)):
        options.parser.error(
            f"{len(options.levels)} levels for {len(options.loras)} files; give one for each, or "
            "one for all of them"
        )
    claim(options, options.loras, (options.chart, CHART))
    loras = [opened(path, options) for path in options.loras]
    with computing(options, "compare") as compute:
        found = compare(loras, options.layers, options.full, compute)
    suggested = found.suggest(options.levels, options.suggest) if options.suggest else None
    if options.chart:
        save_chart(comparison_chart(found), options.chart, options.force)
    if options.json:
        print_json(_report(found, suggested), options)
        return
    _print_files(found)
    (_print_two if len(found.names) == 2 else _print_cosines)(found)
    print()
    say([*found.text, *found.notes])
    if suggested:
        print()
        _print_suggested(suggested, options.loras)
    if options.chart:
        line(f"written: {options.chart}")


def _report(found: Comparison, suggested: dict[str, list[float]] | None) -> dict[str, Any]:
    return {
        "files": rows_of(found.files),
        "text": found.text,
        "notes": found.notes,
        "cosines": found.cosines.to_numpy().tolist(),
        "pairs": rows_of(found.total),
        "blocks": rows_of(found.blocks),
        "modules": rows_of(found.modules),
        "not_measured": found.not_measured,
        "suggested": [{"pattern": p, "weights": w} for p, w in (suggested or {}).items()],
        "block_weights": "\n".join(block_weights(suggested or {})),
    }


def _print_files(found: Comparison) -> None:
    for row in rows_of(found.files):
        name = shorten(terminal(row["file"]), 34)
        modules = f"{row['modules']} modules"
        if row["only_modules"]:
            modules += f", {row['only_modules']} alone"
        line(f"{row['letter']:<3} {name:<34}  norm {row['norm']:<8.4g} {modules}")
    print()


def _print_two(found: Comparison) -> None:
    """A line for each block and one for all."""
    table = found.blocks
    full = bool(table["sign_conflict"].notna().any())
    line(f"{'':<20}  {'norm':>16}  {'':>6}  {'of A in B':>11}  {'of B in A':>11}"
         + f"  {'signs':>6}" * full)  # fmt: skip
    line(f"{'block':<20}  {'A':>7}  {'B':>7}  {'cosine':>6}  {'out':>5} {'in':>5}  {'out':>5}"
         f" {'in':>5}" + f"  {'differ':>6}" * full)  # fmt: skip
    shown = table if len(table) <= ROWS else _strongest(table)
    for row in rows_of(shown):
        # pandas has NaN for what is in no block.
        block = row["block"] if isinstance(row["block"], str) else "outside any block"
        _print_row(block, row, full)
    if len(table) > len(shown):
        line(f"({len(table) - len(shown)} more blocks with smaller cosines: --json, --chart)")
    _print_row("all", rows_of(found.total)[0], full)
    line("(of A in B: how much of A is where B writes, out, and where B reads, in)")


def _strongest(table: pd.DataFrame) -> pd.DataFrame:
    """The blocks that touch most, in the network's order."""
    order = table["cosine"].abs().sort_values(ascending=False, kind="stable").index[:ROWS]
    return table.loc[sorted(order)]


def _print_row(name: str, row: dict[str, Any], full: bool) -> None:
    shares = [_percent(row[f"{side}_in_{space}"]) for side in ("first", "second")
              for space in ("columns", "rows")]  # fmt: skip
    cosine = f"{round(row['cosine'], 3) + 0.0:.3f}"
    text = (
        f"{shorten(name, 20):<20}  {row['first_norm']:>7.4g}  {row['second_norm']:>7.4g}"
        f"  {cosine:>6}  {shares[0]:>5} {shares[1]:>5}  {shares[2]:>5} {shares[3]:>5}"
    )
    line(text + f"  {_percent(row['sign_conflict']):>6}" * full)


def _percent(share: float) -> str:
    return "-" if isnan(share) else f"{share:.0%}"


def _print_cosines(found: Comparison) -> None:
    """The matrix of all pairs, or where it is too wide the pairs that touch most."""
    letters, most = found.letters, 10
    if len(letters) <= most:
        line(f"{'cosine':<6}" + "".join(f"{letter:>7}" for letter in letters))
        for letter, row in zip(letters, found.cosines.to_numpy().tolist(), strict=True):
            line(f"{letter:<6}" + "".join(f"{round(one, 3) + 0.0:>7.3f}" for one in row))
        return
    pairs = sorted(rows_of(found.total), key=lambda row: -abs(row["cosine"]))
    for pair in pairs[:ROWS]:
        line(f"{pair['first']:<4} {pair['second']:<4} cosine {pair['cosine']:>6.3f}")
    line(f"({max(0, len(pairs) - ROWS)} more pairs: --json, --chart)")


def _print_suggested(suggested: dict[str, list[float]], paths: list[str]) -> None:
    """As a command, and as text for block weights."""
    files = " ".join(map(shlex.quote, paths))
    lines = block_weights(suggested)
    line("to keep each file's own effect:")
    if len(lines) == 1:
        weights = lines[0].removeprefix("*: ").replace(",", "")
        line(f"lora-alloy blend {files} --weights {weights} -o OUT")
    else:
        line(f'lora-alloy blend {files} -o OUT --block-weights "{"; ".join(lines)}"')
        line("or as block_weights of a node:")
        for text in lines:
            line(text)
