"""The command methods."""

from __future__ import annotations

import argparse

from ...merging.method import METHODS
from ..options import json_option
from ..parser import Parser
from ..printing import print_json, say

EXAMPLES = """
    lora-alloy methods
"""


def options(parser: Parser) -> None:
    json_option(parser)


def run(options: argparse.Namespace) -> None:
    if options.json:
        facts = {
            method.name: {
                "summary": method.summary,
                "paper": method.paper,
                "parameters": {
                    name: {"default": p.default, "low": p.low, "high": p.high, "meaning": p.meaning}
                    for name, p in method.parameters.items()
                },
            }
            for method in METHODS.values()
        }
        print_json({"methods": facts}, options)
        return
    for method in METHODS.values():
        say([f"{method.name}: {method.summary}"])
        for name, p in method.parameters.items():
            say([f"    {name} (default {p.default:g}): {p.meaning}"])
        say([f"    {method.paper}"])
