"""The commands that read and measure: info, verify."""

import argparse
from typing import Any

from ..edits.block_weights import from_files
from ..edits.verify import MATCH, READER_CHOICES, verify
from ..errors import FileError
from ..insight.info import describe, summary
from .common import (
    add_command,
    computing,
    json_option,
    line,
    opened,
    print_json,
    print_rows,
    reading_options,
    weights_for,
    weights_option,
)
from .parser import float_


def add(commands: Any) -> None:
    _add_info(commands)
    _add_verify(commands)


def _add_info(commands: Any) -> None:
    parser = add_command(commands, "info", _info, "Show what is in a LoRA file.")
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    parser.add_argument("--names", action="store_true", help="list every module")
    reading_options(parser)
    json_option(parser)


def _add_verify(commands: Any) -> None:
    parser = add_command(
        commands,
        "verify",
        _verify,
        "Measure a written file against the weighted sum of its inputs, layer by layer.",
    )
    parser.add_argument("written", metavar="OUT", help="the file to check")
    parser.add_argument(
        "--inputs", nargs="+", required=True, metavar="A", help="what it was made of"
    )
    weights_option(parser, "as given to blend")
    parser.add_argument("--block-weights", default="", metavar="TEXT", help="as given to blend")
    parser.add_argument(
        "--max-error",
        type=float_,
        metavar="X",
        help="exit with status 1 when the total relative error is above this",
    )
    parser.add_argument(
        "--for",
        dest="reader",
        choices=READER_CHOICES,
        default=MATCH,
        help="who is to read it (default match: whoever reads the inputs; any: names do not count)",
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda:N (default cpu)")
    reading_options(parser)
    json_option(parser)


def _info(options: argparse.Namespace) -> None:
    lora = opened(options.lora, options)
    if options.json:
        print_json(describe(lora))
        return
    for fact in summary(lora):
        label, _, text = fact.partition(": ")
        line(f"{label + ':':<24}{text}")
    if options.names:
        for module in lora.modules.values():
            size = f"{module.out_features} x {module.in_features}"
            line(f"  {module.canonical:<52} rank {module.rank or '-':<5} {size:<14} {module.raw}")


def _verify(options: argparse.Namespace) -> None:
    weights = weights_for(options, options.inputs)
    with computing(options, "verify") as compute:
        inputs = [opened(path, options) for path in options.inputs]
        report = verify(
            options.written,
            inputs,
            weights,
            from_files(options.block_weights),
            compute,
            options.reader,
        )
    if options.json:
        print_json(report.as_dict())
    else:
        print_rows(report.modules, 10)
        line(f"total relative error {report.relative_error:.3g} over {len(report.modules)} modules")
        for note in report.notes:
            line(note)
    if unread := [row for row in report.modules if row.action == "missing" and row.note]:
        raise FileError(
            f"{unread[0].note}: {len(unread)} modules are lost to it",
            fix="convert it to another spelling, or say --for whom it is",
            file=options.written,
        )
    if options.max_error is not None and not report.relative_error <= options.max_error:
        raise FileError(
            f"total relative error {report.relative_error:.3g} is above {options.max_error:g}",
            fix="write it again at a higher rank, or in fp32",
            file=options.written,
        )
