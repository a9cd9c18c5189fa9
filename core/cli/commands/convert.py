"""The command convert."""

from __future__ import annotations

import argparse

from ...edits.convert import convert
from ..computing import computing, verify_written
from ..options import opened, output_options, output_settings, reading_options
from ..outputs import LORA, claim
from ..parser import Parser
from ..printing import show


def options(parser: Parser) -> None:
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    reading_options(parser)
    output_options(parser, required=True)


def run(options: argparse.Namespace) -> None:
    claim(options, [options.lora], (options.output, LORA))
    with computing(options, "convert") as compute:
        lora = opened(options.lora, options)
        edited = convert(lora, output_settings(options, options.output), compute)
    verify_written(edited, [lora], options)
    show(edited.report, options)
