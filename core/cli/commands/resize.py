"""The command resize."""

from __future__ import annotations

import argparse

from ...edits.resize import resize
from ..computing import computing, verify_written
from ..inputs import files_argument, many_options
from ..many import Done, each, edits
from ..options import SELECTOR_HELP, opened, output_options, output_settings, reading_options
from ..outputs import LORA
from ..parser import Parser
from ..ranks import chosen_rule, rule_options

EXAMPLES = """
    # to a rank, to a size, to an error
    lora-alloy resize style.safetensors --rank 4 -o small.safetensors
    lora-alloy resize style.safetensors --megabytes 0.1 -o small2.safetensors
    lora-alloy resize style.safetensors --energy 0.98 -o small3.safetensors
    # a folder to 40 MB a file; what is there already stays
    lora-alloy resize loras/ --megabytes 40 -o small/ --skip-existing
    # what would become of it
    lora-alloy resize style.safetensors --rank 4 --preview
"""


def options(parser: Parser) -> None:
    files_argument(parser)
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
    many_options(parser)


def run(options: argparse.Namespace) -> int:
    if options.output is None and not options.preview:
        options.parser.error("resize needs -o OUT, or --preview to only show the ranks")
    chosen_rule(options)
    return each(options, _resize, {} if options.preview else {"output": LORA})


def _resize(options: argparse.Namespace) -> Done:
    rule = chosen_rule(options)
    output = output_settings(options, options.output)
    with computing(options, "resize") as compute:
        lora = opened(options.lora, options)
        edited = resize(lora, rule, options.layers, output, compute, options.preview)
    verify_written(edited, [lora], options)
    return edits(options, {"output": edited.report})
