"""The command distance."""

from __future__ import annotations

import argparse
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from ...insight.neighbours import counts, neighbours
from ..computing import computing
from ..options import compute_options, json_option, opened, reading_options
from ..parser import Parser
from ..printing import print_json, say, table

if TYPE_CHECKING:
    pass


EXAMPLES = """
    # is it, or something with it inside, in a folder?
    lora-alloy distance style.safetensors loras/
"""


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
    rows = [
        (
            one.relation,
            "" if isnan(one.cosine) else f"{round(one.cosine, 3) + 0.0:.3f}",
            one.path,
            one.text,
        )
        for one in found
    ]
    table((f"to {lora.name}", ">cosine", "file", ""), rows)
    numbers = ", ".join(f"{number} {relation}" for relation, number in counts(found).items())
    say([f"{len(found)} files in {Path(options.folder)}: {numbers}"])
