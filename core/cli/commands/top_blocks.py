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
from ..computing import computing, verify_written
from ..options import opened, output_options, output_settings, reading_options
from ..outputs import CHART, LORA, claim
from ..parser import Parser, float_
from ..printing import line, print_json, say, show
from .analyze import chart_options, rows_of

if TYPE_CHECKING:
    pass


def options(parser: Parser) -> None:
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
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
        help="share of the energy, or softmax of spectral norms (default energy)",
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
    chart_options(parser, "cumulative")
    output_options(parser, required=False)
    reading_options(parser)


def run(options: argparse.Namespace) -> None:
    if options.rest and not options.output:
        options.parser.error("--rest needs -o OUT for the blocks themselves")
    outputs = (options.output, LORA), (options.rest, LORA), (options.chart, CHART)
    claim(options, [options.lora], *outputs)
    lora = opened(options.lora, options)
    edited = rest = None
    with computing(options, "top-blocks") as compute:
        table = None
        if options.chart and options.chart_kind == "spectrum":
            table = analyze_lora(lora, statistics="norms", compute=compute)
        choice = choose_blocks(
            lora, options.threshold, options.importance, options.temperature, table, compute
        )
        config = None
        if options.trainer:
            config = trainer_config(options.trainer, lora, choice.blocks)
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
    if options.chart:
        figure = chart(
            choice.analysis,
            options.chart_kind,
            options.importance,
            options.temperature,
            options.threshold,
        )
        save_chart(figure, options.chart, options.force)
    if options.json:
        result = {
            "blocks": choice.blocks,
            "text": choice.text,
            "importance": rows_of(choice.table),
            "trainer_config": config,
            "kept": edited.report.as_dict() if edited else None,
            "rest": rest.report.as_dict() if rest else None,
        }
        print_json(result, options)
        return
    _print_blocks(choice)
    say(choice.text)
    if config:
        for text in ("", *config.split("\n"), ""):
            line(text)
    for one in filter(None, (edited, rest)):
        # Every module that one file leaves out was asked to go: the count is enough.
        one.report.dropped = {}
        show(one.report, options)
    if options.chart:
        line(f"written: {options.chart}")


def _print_blocks(choice: Choice) -> None:
    head = choice.table.head(len(choice.blocks))
    width = max(len("block"), *(len(str(block)) for block in head["block"]))
    line(f"{'block':<{width}}  importance  cumulative  layers  largest norm")
    for _, row in head.iterrows():
        line(
            f"{row['block']:<{width}}  {row['block_importance']:>10.2%}  {row['cumulative']:>10.2%}"
            f"  {row['layers']:>6}  {row['max_norm']:>12.4g}"
        )
