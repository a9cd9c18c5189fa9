"""The command extract."""

from __future__ import annotations

import argparse

from ...edits.extract import extract
from ...edits.whole import RANDOMISED, WHOLE_METHODS
from ...insight.curve_chart import curve_chart
from ...insight.drawing import save_chart
from ...reading.base_model import BaseModel
from ...reading.difference import Difference
from ...reading.lora import Lora
from ..computing import computing, verify_written
from ..options import SELECTOR_HELP, output_options, output_settings
from ..outputs import CHART, LORA, claim, theme_option
from ..parser import Parser
from ..printing import print_json, show, written
from ..ranks import RULE_OPTIONS, chosen_rule, rule_options

MODEL = "a checkpoint or diffusion model (.safetensors), or a folder of diffusers"
DEFAULT_RANK = 32
EXAMPLES = """
    lora-alloy extract tuned.safetensors --base flux1-dev.safetensors --rank 32 -o lora.safetensors
    lora-alloy extract tuned.safetensors --base flux1-dev.safetensors --megabytes 150 --preview
"""


def options(parser: Parser) -> None:
    parser.add_argument("tuned", metavar="TUNED", help=f"the model with the changes: {MODEL}")
    parser.add_argument(
        "--base", required=True, metavar="BASE", help=f"the model that it was made of: {MODEL}"
    )
    rule_options(parser, f"rank {DEFAULT_RANK}")
    parser.add_argument("--layers", default="", metavar="SELECTOR", help=SELECTOR_HELP)
    parser.add_argument(
        "--method",
        choices=WHOLE_METHODS,
        default=RANDOMISED,
        help="randomised finds what is asked for and measures what is left; exact decomposes every "
        "difference whole, which takes minutes (default randomised)",
    )
    parser.add_argument(
        "--vectors", action="store_true", help="norms and biases, too, as they are (.diff, .diff_b)"
    )
    parser.add_argument("--preview", action="store_true", help="show the ranks, write nothing")
    parser.add_argument(
        "--chart", metavar="F", help="draw error against size into this .png or .svg file"
    )
    theme_option(parser)
    output_options(parser, required=False)


def run(options: argparse.Namespace) -> None:
    if options.output is None and not options.preview:
        options.parser.error("extract needs -o OUT, or --preview to only show the ranks")
    asked = options.knee or any(getattr(options, name) is not None for name in RULE_OPTIONS)
    if not asked:
        options.rank = DEFAULT_RANK
    rule = chosen_rule(options)
    models = [options.tuned, options.base]
    output = None if options.preview else options.output
    claim(options, models, (options.chart, CHART), (output, LORA))
    with computing(options, "extract") as compute:
        tuned = BaseModel(options.tuned)
        base = BaseModel(options.base, prefer=tuned.family)
        extracted = extract(
            tuned,
            base,
            rule,
            options.layers,
            output_settings(options, options.output),
            compute,
            options.method,
            options.vectors,
            options.preview,
        )
    if options.verify:
        exact = Lora(Difference(tuned, base, options.vectors), prefer=base.family)
        verify_written(extracted, [exact], options)
    if options.chart:
        save_chart(curve_chart(extracted.curve, options.theme), options.chart, options.force)
    if options.json:
        points = [point._asdict() for point in extracted.curve.points]
        print_json(extracted.report.as_dict() | {"curve": points}, options)
        return
    show(extracted.report, options, every_row=options.preview)
    if options.chart:
        written(options.chart)
