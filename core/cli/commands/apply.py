"""The command apply."""

from __future__ import annotations

import argparse

from ...edits.apply import apply
from ...running.output import Output
from ..computing import computing
from ..options import (
    compute_options,
    json_option,
    metadata_options,
    opened,
    reading_options,
    weights_for,
    weights_option,
    wishes,
)
from ..outputs import LORA, claim, force_option
from ..parser import Parser
from ..printing import show

EXAMPLES = """
    lora-alloy apply sdxl.safetensors style.safetensors --weights 0.8 -o sdxl_style.safetensors
"""


def options(parser: Parser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a checkpoint or diffusion model (.safetensors)"
    )
    parser.add_argument("loras", metavar="A", nargs="+", help="LoRA files for this model")
    weights_option(parser, "strength of each file, of either sign")
    group = parser.add_argument_group("output and computing")
    group.add_argument("-o", "--output", required=True, metavar="OUT", help="file to write")
    force_option(group)
    compute_options(group)
    json_option(group)
    metadata_options(parser)
    reading_options(parser, base=False)


def run(options: argparse.Namespace) -> None:
    options.base = options.model
    weights = weights_for(options, options.loras)
    claim(options, [options.model, *options.loras], (options.output, LORA))
    with computing(options, "apply") as compute:
        loras = [opened(path, options) for path in options.loras]
        output = Output(options.output, metadata=wishes(options), replace=options.force)
        applied = apply(options.base, loras, weights, output, compute)
    show(applied.report, options)
