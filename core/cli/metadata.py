"""The command that edits what a file says about itself: metadata."""

import argparse
from typing import Any

from ..edits.save import save
from ..reading.lora import Lora
from ..running.metadata import Wishes
from ..running.report import megabytes
from .common import add_command, json_option, line, metadata_options, print_json, wishes
from .outputs import LORA, claim, force_option

SHOWN = 300  # Characters of a value: tags of a training are many thousands.


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "metadata",
        _metadata,
        "Show a file's metadata, or write the file with others; its tensors stay as they are.",
    )
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    parser.add_argument("-o", "--output", metavar="OUT", help="file to write (default: only show)")
    force_option(parser)
    json_option(parser)
    metadata_options(parser)


def _metadata(options: argparse.Namespace) -> None:
    wanted = wishes(options)
    if options.output is None and wanted != Wishes():
        options.parser.error("-o OUT says where the file with this metadata goes")
    claim(options, [options.lora], (options.output, LORA))
    lora = Lora(options.lora)
    if options.output is not None:
        path = save(lora, options.output, wishes=wanted, replace=options.force)
        lora = Lora(path)
    if options.json:
        print_json({"file": str(lora.tensors.path), "metadata": lora.metadata})
        return
    for key, value in sorted(lora.metadata.items()):
        rest = f"... ({len(value)} characters; --json shows all)" if len(value) > SHOWN else ""
        line(f"{key}: {value[:SHOWN]}{rest}")
    if not lora.metadata:
        line("no metadata")
    if options.output is not None:
        line(f"written: {options.output}, {megabytes(lora.bytes)}")
