"""The command top-blocks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ...edits.top_blocks import KEEP, REMOVE, top_blocks
from ...insight.analysis import analyze_lora
from ...insight.charts import chart
from ...insight.choice import Choice, choose_blocks
from ...insight.drawing import save_chart
from ...insight.importance import ENERGY, IMPORTANCES
from ...insight.trainer_configs import TRAINERS, trainer_config
from ...storage.atomic import write_file
from ..computing import computing, verify_written
from ..inputs import files_argument, many_options
from ..many import Done, each
from ..options import opened, output_options, output_settings, reading_options
from ..outputs import CHART, CONFIG, LORA
from ..parser import Parser, float_
from ..printing import line, say, show, table, written
from .analyze import chart_options, check_chart, rows_of

if TYPE_CHECKING:
    pass


EXAMPLES = """
    # which blocks hold 90 % of the energy?
    lora-alloy top-blocks style.safetensors
    # keep those that hold half of it; all else goes to another file
    lora-alloy top-blocks style.safetensors --threshold 0.5 \\
        -o top.safetensors --rest rest.safetensors
    # train only them next time
    lora-alloy top-blocks style.safetensors --threshold 0.5 --trainer ai-toolkit \\
        --trainer-output next.yaml
"""


def options(parser: Parser) -> None:
    files_argument(parser)
    parser.add_argument(
        "--threshold",
        type=float_,
        default=0.9,
        metavar="X",
        help="importance to reach (default 0.9)",
    )
    parser.add_argument(
        "--importance",
        choices=IMPORTANCES,
        default=ENERGY,
        help="share of the energy, softmax of spectral norms, or energy relative to the base "
        "model's (with --base; default energy)",
    )
    parser.add_argument(
        "--temperature", type=float_, default=1.0, help="of the softmax (default 1)"
    )
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--keep", dest="mode", action="store_const", const=KEEP, help="write these blocks (default)"
    )
    modes.add_argument(
        "--remove", dest="mode", action="store_const", const=REMOVE, help="write all other blocks"
    )
    parser.set_defaults(mode=KEEP)
    parser.add_argument(
        "--other-layers",
        choices=(KEEP, REMOVE),
        default=KEEP,
        help="what happens to layers outside any block (default keep)",
    )
    parser.add_argument(
        "--always", default="", metavar="SELECTOR", help="layers that stay in any case"
    )
    parser.add_argument("--rest", metavar="OUT2", help="write everything else to this file")
    parser.add_argument(
        "--trainer", choices=TRAINERS, help="print a configuration that trains only these blocks"
    )
    parser.add_argument(
        "--trainer-output", metavar="F", help="write it to this file instead: .yaml, .toml, .txt"
    )
    chart_options(parser, "cumulative")
    output_options(parser, required=False)
    many_options(parser)
    reading_options(parser)


def run(options: argparse.Namespace) -> int:
    if options.rest and not options.output:
        options.parser.error("--rest needs -o OUT for the blocks themselves")
    if options.trainer_output and not options.trainer:
        options.parser.error("--trainer-output needs --trainer for what to write")
    check_chart(options)
    outputs = {"output": LORA, "rest": LORA, "chart": CHART, "trainer_output": CONFIG}
    return each(options, _top_blocks, outputs)


def _top_blocks(options: argparse.Namespace) -> Done:
    lora = opened(options.lora, options)
    edited = rest = None
    with computing(options, "top-blocks") as compute:
        found = None
        if options.chart and options.chart_kind == "spectrum":
            found = analyze_lora(lora, statistics="norms", compute=compute)
        choice = choose_blocks(
            lora, options.threshold, options.importance, options.temperature, found, compute
        )
        config = trainer_config(options.trainer, lora, choice.blocks) if options.trainer else None
        if options.output:
            edited, rest = top_blocks(
                lora,
                choice,
                options.mode,
                options.always,
                options.other_layers,
                output_settings(options, options.output),
                output_settings(options, options.rest) if options.rest else None,
                compute,
            )
    for one in filter(None, (edited, rest)):
        verify_written(one, [lora], options)
        # Every module that one file leaves out was asked to go: the count is enough.
        one.report.dropped = {}
    if options.chart:
        how = options.importance, options.temperature, options.threshold
        figure = chart(choice.analysis, options.chart_kind, *how, theme=options.theme)
        save_chart(figure, options.chart, options.force)
    if config and options.trainer_output:
        write_file(options.trainer_output, config.encode(), options.force)

    def shown() -> None:
        _print_blocks(choice)
        say(choice.text)
        if config and not options.trainer_output:
            for text in ("", *config.split("\n"), ""):
                line(text)
        for one in filter(None, (edited, rest)):
            show(one.report, options)
        for path in filter(None, (options.chart, options.trainer_output)):
            written(path)

    told = {
        "blocks": choice.blocks,
        "text": choice.text,
        "importance": rows_of(choice.table),
        "trainer_config": config,
        "kept": edited.report.as_dict() if edited else None,
        "rest": rest.report.as_dict() if rest else None,
    }
    row = {
        ">blocks": f"{len(choice.blocks)} of {len(choice.table)}",
        "which": " ".join(choice.blocks),
    }
    return Done(told, shown, row)


def _print_blocks(choice: Choice) -> None:
    head = rows_of(choice.table.head(len(choice.blocks)))
    most = max((row["block_importance"] for row in head), default=1.0) or 1.0
    table(
        ("block", ">importance", "", ">cumulative", ">layers", ">largest norm"),
        (
            (
                row["block"],
                f"{row['block_importance']:.2%}",
                float(row["block_importance"] / most),
                f"{row['cumulative']:.2%}",
                row["layers"],
                f"{row['max_norm']:.4g}",
            )
            for row in head
        ),
    )
