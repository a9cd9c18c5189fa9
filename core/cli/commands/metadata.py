"""The command metadata."""

from __future__ import annotations

import argparse

from ...edits.save import save
from ...reading.lora import Lora
from ...running.metadata import Wishes
from ...running.report import megabytes
from ..options import json_option, metadata_options, wishes
from ..outputs import LORA, claim, force_option
from ..parser import Parser
from ..printing import line, print_json

SHOWN = 300  # Characters of a value: tags of a training are many thousands.


def options(parser: Parser) -> None:
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    parser.add_argument("-o", "--output", metavar="OUT", help="file to write (default: only show)")
    force_option(parser)
    json_option(parser)
    metadata_options(parser)


def run(options: argparse.Namespace) -> None:
    wanted = wishes(options)
    if options.output is None and wanted != Wishes():
        options.parser.error("-o OUT says where the file with this metadata goes")
    claim(options, [options.lora], (options.output, LORA))
    lora = Lora(options.lora)
    if options.output is not None:
        path = save(lora, options.output, wishes=wanted, replace=options.force)
        lora = Lora(path)
    if options.json:
        print_json({"file": str(lora.tensors.path), "metadata": lora.metadata}, options)
        return
    for key, value in sorted(lora.metadata.items()):
        rest = f"... ({len(value)} characters; --json shows all)" if len(value) > SHOWN else ""
        line(f"{key}: {value[:SHOWN]}{rest}")
    if not lora.metadata:
        line("no metadata")
    if options.output is not None:
        line(f"written: {options.output}, {megabytes(lora.bytes)}")
