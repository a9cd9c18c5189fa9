"""The command distance."""

from __future__ import annotations

import argparse
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from ...insight.neighbours import Neighbour, counts, neighbours
from ..computing import computing
from ..options import compute_options, json_option, opened, reading_options
from ..parser import Parser
from ..printing import line, print_json, say

if TYPE_CHECKING:
    pass


def options(parser: Parser) -> None:
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    parser.add_argument("folder", metavar="FOLDER", help="where to look, folders in it included")
    compute_options(parser)
    json_option(parser)
    reading_options(parser)


def run(options: argparse.Namespace) -> None:
    lora = opened(options.lora, options)
    with computing(options, "distance") as compute:
        found = neighbours(lora, options.folder, compute)
    if options.json:
        print_json({"file": lora.name, "files": [vars(one) for one in found]}, options)
        return
    line(f"A   {lora.name}")
    print()
    for one in found:
        _print_neighbour(one)
    numbers = ", ".join(f"{number} {relation}" for relation, number in counts(found).items())
    line(f"{len(found)} files in {Path(options.folder)}: {numbers}")


def _print_neighbour(one: Neighbour) -> None:
    cosine = "" if isnan(one.cosine) else f"{round(one.cosine, 3) + 0.0:.3f}"
    line(f"{one.relation:<19} {cosine:>6}  {one.path}")
    if one.text:
        say([f"    {one.text}"])
