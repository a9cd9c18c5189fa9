"""The command families."""

from __future__ import annotations

import argparse

from ...insight.coverage import coverage, not_covered
from ..options import json_option
from ..parser import Parser
from ..printing import line, print_json, table

HEADINGS = ("family", "ComfyUI reads", "trainers", "diffusers' models", "ComfyUI's models")


def options(parser: Parser) -> None:
    json_option(parser)


def run(options: argparse.Namespace) -> None:
    rows, others = coverage(), not_covered()
    if options.json:
        print_json({"families": rows, "not_covered": others}, options)
        return
    keys = ("reads", "trainers", "diffusers", "comfyui")
    table(
        HEADINGS, [(row["family"], *(", ".join(row[key]) or "-" for key in keys)) for row in rows]
    )
    line()
    line(f"{len(rows)} families; of others the names are kept as they are. Not covered in ComfyUI:")
    for model, reason in others.items():
        line(f"  {model}: {reason}")
