"""The command average."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from ...edits.blend import blend
from ...edits.blend_settings import Blend
from ...merging.average import average_weights
from ...reading.lora import Lora
from ..computing import computing, verify_written
from ..options import SELECTOR_HELP, opened, output_options, output_settings, reading_options
from ..outputs import LORA, claim
from ..parser import Parser, float_
from ..printing import show
from ..ranks import chosen_rule, rule_options

ORDERS = ("given", "name", "date")


EXAMPLES = """
    # the mean of two checkpoints
    lora-alloy average style.safetensors character.safetensors -o mean.safetensors
"""


def options(parser: Parser) -> None:
    parser.add_argument("loras", metavar="A", nargs="+", help=".safetensors files of one training")
    profile = parser.add_mutually_exclusive_group()
    profile.add_argument(
        "--decay",
        type=float_,
        nargs="+",
        metavar="D",
        help="moving average: what is left of the mean at each further file, such as 0.9; two "
        "numbers go from the second file to the last",
    )
    profile.add_argument(
        "--sigma-rel",
        type=float_,
        metavar="S",
        help="the power-function profile of this relative width, such as 0.2: musubi-tuner's "
        "post-hoc EMA (Karras et al. 2023), in which the first file counts nothing",
    )
    parser.add_argument(
        "--order",
        choices=ORDERS,
        default="given",
        help="of the files: as given, by the numbers in their names (epoch2 before epoch10), or by "
        "date, the oldest first (default given)",
    )
    rule_options(parser, "auto, the largest of the files' ranks in each layer")
    parser.add_argument("--layers", default="", metavar="SELECTOR", help=SELECTOR_HELP)
    reading_options(parser)
    output_options(parser, required=True)


def run(options: argparse.Namespace) -> None:
    claim(options, options.loras, (options.output, LORA))
    weights = average_weights(len(options.loras), options.decay, options.sigma_rel)
    settings = Blend(weights, chosen_rule(options), layers=options.layers)
    with computing(options, "average") as compute:
        given = [opened(path, options) for path in options.loras]
        loras = in_order(given, options.order)
        output = output_settings(options, options.output)
        edited = blend(loras, None, settings, output, compute)
    shares = (f"{lora.name} {weight:.3g}" for lora, weight in zip(loras, weights, strict=True))
    edited.report.notes.append(f"weights: {', '.join(shares)}")
    counts = options.decay is not None or options.sigma_rel is not None
    if counts and options.order == "given" and given != in_order(given, "name"):
        edited.report.notes.append(
            "the files are not in the order of the numbers in their names: --order name"
        )
    verify_written(edited, loras, options, weights)
    show(edited.report, options)


def in_order(loras: Sequence[Lora], order: str) -> list[Lora]:
    """The files in one of the ORDERS; by name a number in it counts as such."""
    if order == "date":
        return sorted(loras, key=lambda lora: Path(lora.tensors.path or "").stat().st_mtime_ns)
    return sorted(loras, key=lambda lora: _numbered(lora.name)) if order == "name" else list(loras)


def _numbered(name: str) -> list[tuple[bool, int, str]]:
    words = re.split(r"(\d+)", Path(name).stem.lower())
    return [(word.isdigit(), int(word) if word.isdigit() else 0, word) for word in words]
