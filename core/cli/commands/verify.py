"""The command verify."""

from __future__ import annotations

import argparse

from ...edits.block_weights import from_files
from ...edits.verify import MATCH, READER_CHOICES, verify
from ...errors import FileError
from ..computing import computing
from ..options import json_option, opened, reading_options, weights_for, weights_option
from ..parser import Parser, float_
from ..printing import line, print_json, print_rows


def options(parser: Parser) -> None:
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


def run(options: argparse.Namespace) -> None:
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
        print_json(report.as_dict(), options)
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
