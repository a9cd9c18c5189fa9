"""The command convert."""

from __future__ import annotations

import argparse

from ...edits.convert import convert
from ..computing import computing, verify_written
from ..inputs import files_argument, many_options
from ..many import Done, each, edits
from ..options import opened, output_options, output_settings, reading_options
from ..outputs import LORA
from ..parser import Parser

EXAMPLES = """
    # diffusers' names to kohya's
    lora-alloy convert style.safetensors --spelling kohya -o style_kohya.safetensors
    # a folder, in half of the bytes
    lora-alloy convert loras/ --dtype fp16 -o "half/{stem}_{dtype}.safetensors"
"""


def options(parser: Parser) -> None:
    files_argument(parser)
    reading_options(parser)
    output_options(parser, required=True)
    many_options(parser)


def run(options: argparse.Namespace) -> int:
    return each(options, _convert, {"output": LORA})


def _convert(options: argparse.Namespace) -> Done:
    with computing(options, "convert") as compute:
        lora = opened(options.lora, options)
        edited = convert(lora, output_settings(options, options.output), compute)
    verify_written(edited, [lora], options)
    return edits(options, {"output": edited.report})
