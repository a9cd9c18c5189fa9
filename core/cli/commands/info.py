"""The command info."""

from __future__ import annotations

import argparse

from ...insight.info import describe, summary
from ..options import json_option, opened, reading_options
from ..parser import Parser
from ..printing import line, print_json


def options(parser: Parser) -> None:
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    parser.add_argument("--names", action="store_true", help="list every module")
    reading_options(parser)
    json_option(parser)


def run(options: argparse.Namespace) -> None:
    lora = opened(options.lora, options)
    if options.json:
        print_json(describe(lora), options)
        return
    for fact in summary(lora):
        label, _, text = fact.partition(": ")
        line(f"{label + ':':<24}{text}")
    if options.names:
        for module in lora.modules.values():
            size = f"{module.out_features} x {module.in_features}"
            line(f"  {module.canonical:<52} rank {module.rank or '-':<5} {size:<14} {module.raw}")
