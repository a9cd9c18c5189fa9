"""The command compare."""

from __future__ import annotations

import argparse
import shlex
from math import isnan
from typing import TYPE_CHECKING, Any

from ...insight.comparison import FILE, SUGGESTIONS, Comparison, block_weights, compare
from ...insight.comparison_charts import comparison_chart
from ...insight.drawing import save_chart
from ..computing import computing
from ..inputs import files_argument
from ..inputs import found as found_files
from ..options import SELECTOR_HELP, compute_options, json_option, opened, reading_options
from ..outputs import CHART, claim, force_option, theme_option
from ..parser import Parser
from ..printing import line, print_json, say, table, written
from .analyze import rows_of

if TYPE_CHECKING:
    import pandas as pd


ROWS = 24  # of blocks: more are for --json


EXAMPLES = """
    # do they fight, and at which weights does each keep its effect?
    lora-alloy compare style.safetensors character.safetensors --suggest
"""


def options(parser: Parser) -> None:
    files_argument(parser)
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
    theme_option(parser)
    force_option(parser)
    compute_options(parser)
    json_option(parser)
    reading_options(parser)


def run(options: argparse.Namespace) -> None:
    paths = [path for path, _ in found_files(options.loras, options.recursive)]
    if len(paths) < 2:
        options.parser.error("compare takes two files or more")
    if len(options.levels) not in (1, len(paths)):
        options.parser.error(
            f"{len(options.levels)} levels for {len(paths)} files; give one for each, or "
            "one for all of them"
        )
    claim(options, paths, (options.chart, CHART))
    loras = [opened(path, options) for path in paths]
    with computing(options, "compare") as compute:
        found = compare(loras, options.layers, options.full, compute)
    suggested = found.suggest(options.levels, options.suggest) if options.suggest else None
    if options.chart:
        save_chart(comparison_chart(found, options.theme), options.chart, options.force)
    if options.json:
        print_json(_report(found, suggested), options)
        return
    _print_files(found)
    (_print_two if len(found.names) == 2 else _print_cosines)(found)
    line()
    say([*found.text, *found.notes])
    if suggested:
        line()
        _print_suggested(suggested, paths)
    if options.chart:
        written(options.chart)


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
    files = rows_of(found.files)
    most = max((row["norm"] for row in files), default=1.0) or 1.0
    table(
        ("", "file", ">norm", "", ">modules", ">alone"),
        (
            (
                row["letter"],
                row["file"],
                f"{row['norm']:.4g}",
                row["norm"] / most,
                row["modules"],
                row["only_modules"] or "",
            )
            for row in files
        ),
    )
    line()


def _print_two(found: Comparison) -> None:
    """A line for each block and one for all."""
    blocks = found.blocks
    shown = blocks if len(blocks) <= ROWS else _strongest(blocks)
    # pandas has NaN for what is in no block.
    rows = [(r["block"] if isinstance(r["block"], str) else "outside any block", r)
            for r in rows_of(shown)]  # fmt: skip
    headings = (
        *("block", ">norm of A", ">norm of B", ">cosine", ""),
        *(">A in B, out", ">A in B, in", ">B in A, out", ">B in A, in", ">signs differ"),
    )
    table(headings, (_cells(*row) for row in [*rows, ("all", rows_of(found.total)[0])]))
    if len(blocks) > len(shown):
        say([f"({len(blocks) - len(shown)} more blocks with smaller cosines: --json, --chart)"])
    say(["(A in B: how much of A is where B writes, out, and where B reads, in)"], "dim")


def _strongest(table: pd.DataFrame) -> pd.DataFrame:
    """The blocks that touch most, in the network's order."""
    order = table["cosine"].abs().sort_values(ascending=False, kind="stable").index[:ROWS]
    return table.loc[sorted(order)]


def _cells(name: str, row: dict[str, Any]) -> tuple[Any, ...]:
    shares = [_percent(row[f"{side}_in_{space}"]) for side in ("first", "second")
              for space in ("columns", "rows")]  # fmt: skip
    norms = f"{row['first_norm']:.4g}", f"{row['second_norm']:.4g}"
    conflict = row["sign_conflict"]
    differ = "" if isnan(conflict) else _percent(conflict)
    cosine = round(row["cosine"], 3) + 0.0
    return name, *norms, f"{cosine:.3f}", abs(float(cosine)), *shares, differ


def _percent(share: float) -> str:
    return "-" if isnan(share) else f"{share:.0%}"


def _print_cosines(found: Comparison) -> None:
    """The matrix of all pairs, or where it is too wide the pairs that touch most."""
    letters, most = found.letters, 10
    if len(letters) <= most:
        cosines = found.cosines.to_numpy().tolist()
        table(
            ("cosine", *(f">{letter}" for letter in letters)),
            (
                (letter, *(f"{round(one, 3) + 0.0:.3f}" for one in row))
                for letter, row in zip(letters, cosines, strict=True)
            ),
        )
        return
    pairs = sorted(rows_of(found.total), key=lambda row: -abs(row["cosine"]))
    table(
        ("", "", ">cosine", ""),
        (
            (pair["first"], pair["second"], f"{pair['cosine']:.3f}", abs(float(pair["cosine"])))
            for pair in pairs[:ROWS]
        ),
    )
    say([f"({max(0, len(pairs) - ROWS)} more pairs: --json, --chart)"])


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
