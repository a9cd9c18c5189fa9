"""The command metadata."""

from __future__ import annotations

import argparse

from ...edits.save import save
from ...reading.lora import Lora
from ...running.metadata import Wishes
from ...running.report import megabytes
from ..inputs import files_argument, many_options
from ..many import Done, each
from ..options import json_option, metadata_options, wishes
from ..outputs import LORA, force_option
from ..parser import Parser
from ..printing import line, written

SHOWN = 300  # Characters of a value: tags of a training are many thousands.


EXAMPLES = """
    # what the file says
    lora-alloy metadata style.safetensors
    # a title, words for the prompt, and none of the training's settings
    lora-alloy metadata style.safetensors --metadata minimal --title Ink --trigger inkstyle \\
        -o ink.safetensors
"""


def options(parser: Parser) -> None:
    files_argument(parser)
    parser.add_argument("-o", "--output", metavar="OUT", help="file to write (default: only show)")
    force_option(parser)
    json_option(parser)
    metadata_options(parser)
    many_options(parser)


def run(options: argparse.Namespace) -> int:
    if options.output is None and wishes(options) != Wishes():
        options.parser.error("-o OUT says where the file with this metadata goes")
    return each(options, _metadata, {"output": LORA})


def _metadata(options: argparse.Namespace) -> Done:
    lora = Lora(options.lora)
    if options.output is not None:
        path = save(lora, options.output, wishes=wishes(options), replace=options.force)
        lora = Lora(path)

    def shown() -> None:
        for key, value in sorted(lora.metadata.items()):
            rest = f"... ({len(value)} characters; --json shows all)" if len(value) > SHOWN else ""
            line(f"{key}: {value[:SHOWN]}{rest}")
        if not lora.metadata:
            line("no metadata")
        if options.output is not None:
            written(options.output)

    told = {"file": str(lora.tensors.path), "metadata": lora.metadata}
    return Done(told, shown, {">entries": len(lora.metadata), ">size": megabytes(lora.file_bytes)})
