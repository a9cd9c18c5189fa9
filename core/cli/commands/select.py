"""The command select."""

from __future__ import annotations

import argparse

from ...edits.select import select
from ..computing import computing, verify_written
from ..inputs import files_argument, many_options
from ..many import Done, each, edits
from ..options import SELECTOR_HELP, opened, output_options, output_settings, reading_options
from ..outputs import LORA
from ..parser import Parser

EXAMPLES = """
    # the double blocks alone
    lora-alloy select style.safetensors --layers double_blocks -o double.safetensors
    # two halves
    lora-alloy select style.safetensors --layers "single_blocks.0-1" \\
        -o a.safetensors --rest b.safetensors
"""


def options(parser: Parser) -> None:
    files_argument(parser)
    parser.add_argument("--layers", required=True, metavar="SELECTOR", help=SELECTOR_HELP)
    parser.add_argument("--rest", metavar="OUT2", help="write all other layers to this file")
    reading_options(parser)
    output_options(parser, required=True)
    many_options(parser)


def run(options: argparse.Namespace) -> int:
    return each(options, _select, {"output": LORA, "rest": LORA})


def _select(options: argparse.Namespace) -> Done:
    rest = output_settings(options, options.rest) if options.rest else None
    with computing(options, "select") as compute:
        lora = opened(options.lora, options)
        output = output_settings(options, options.output)
        kept, others = select(lora, options.layers, output, rest, compute)
    reports = {"kept": kept.report} | ({"rest": others.report} if others else {})
    for edited in filter(None, (kept, others)):
        verify_written(edited, [lora], options)
        # What one file leaves out is in the other, or was asked to go: the count is enough.
        edited.report.dropped = {} if others else edited.report.dropped
    return edits(options, reports)
