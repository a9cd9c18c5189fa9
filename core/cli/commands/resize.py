"""The command resize."""

from __future__ import annotations

import argparse

from ...edits.resize import resize
from ..computing import computing, verify_written
from ..options import SELECTOR_HELP, opened, output_options, output_settings, reading_options
from ..outputs import LORA, claim
from ..parser import Parser
from ..printing import show
from ..ranks import chosen_rule, rule_options


def options(parser: Parser) -> None:
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    rule_options(parser)
    parser.add_argument(
        "--layers",
        default="",
        metavar="SELECTOR",
        help="resize only these, leave the rest as it is: " + SELECTOR_HELP,
    )
    parser.add_argument("--preview", action="store_true", help="show the ranks, write nothing")
    reading_options(parser)
    output_options(parser, required=False)


def run(options: argparse.Namespace) -> None:
    if options.output is None and not options.preview:
        options.parser.error("resize needs -o OUT, or --preview to only show the ranks")
    rule = chosen_rule(options)
    if not options.preview:
        claim(options, [options.lora], (options.output, LORA))
    with computing(options, "resize") as compute:
        lora = opened(options.lora, options)
        edited = resize(
            lora,
            rule,
            options.layers,
            output_settings(options, options.output),
            compute,
            options.preview,
        )
    verify_written(edited, [lora], options)
    show(edited.report, options, every_row=options.preview)
