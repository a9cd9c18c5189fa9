"""The command select."""

from __future__ import annotations

import argparse

from ...edits.select import select
from ..computing import computing, verify_written
from ..options import SELECTOR_HELP, opened, output_options, output_settings, reading_options
from ..outputs import LORA, claim
from ..parser import Parser
from ..printing import print_json, show


def options(parser: Parser) -> None:
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    parser.add_argument("--layers", required=True, metavar="SELECTOR", help=SELECTOR_HELP)
    parser.add_argument("--rest", metavar="OUT2", help="write all other layers to this file")
    reading_options(parser)
    output_options(parser, required=True)


def run(options: argparse.Namespace) -> None:
    claim(options, [options.lora], (options.output, LORA), (options.rest, LORA))
    rest = output_settings(options, options.rest) if options.rest else None
    with computing(options, "select") as compute:
        lora = opened(options.lora, options)
        kept, others = select(
            lora,
            options.layers,
            output_settings(options, options.output),
            rest,
            compute,
        )
    for edited in filter(None, (kept, others)):
        verify_written(edited, [lora], options)
    if options.json:
        both = {"kept": kept.report.as_dict(), "rest": others.report.as_dict() if others else None}
        print_json(both, options)
        return
    for edited in filter(None, (kept, others)):
        # What one file leaves out is in the other, or was asked to go: the count is enough.
        edited.report.dropped = {} if others else edited.report.dropped
        show(edited.report, options)
