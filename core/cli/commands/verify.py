"""The command verify."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...edits.block_weights import from_files
from ...edits.verify import MATCH, READER_CHOICES, verify
from ...errors import FileError
from ...reading.lora import Lora
from ...running.provenance import read_recipe
from ...running.report import Report
from ..computing import computing
from ..inputs import files_argument, run_options
from ..many import Done, each
from ..options import json_option, opened, reading_options, weights_for, weights_option
from ..parser import Parser, float_
from ..printing import LOOK, judged, print_rows, say
from .recipe import FOUND, UNKNOWN, file_name, state_of

EXAMPLES = """
    # from the recipe that the file carries
    lora-alloy verify both.safetensors
    # against what it was made of
    lora-alloy verify both.safetensors --inputs style.safetensors character.safetensors \\
        --weights 0.8 0.6
"""

MOST = 0.5
# What an edit does beside the sum of its inputs is not measured here.
SUMS = ("blend", "average", "resize", "convert")


def options(parser: Parser) -> None:
    files_argument(parser, metavar="OUT")
    parser.add_argument(
        "--inputs",
        nargs="+",
        metavar="A",
        help="what it was made of (default: what its recipe says, from its own folder)",
    )
    weights_option(parser, "as given to blend")
    parser.add_argument("--block-weights", default="", metavar="TEXT", help="as given to blend")
    parser.add_argument(
        "--max-error",
        type=float_,
        default=MOST,
        metavar="X",
        help="status 1 when the total relative error is above this (default 0.5, when a quarter "
        "of the energy is gone), and where modules are missing",
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
    run_options(parser.add_argument_group("several files"))


def run(options: argparse.Namespace) -> int:
    if options.inputs:
        weights_for(options, options.inputs)
    return each(options, _verify)


def _verify(options: argparse.Namespace) -> Done:
    paths, weights, block_weights = (_given if options.inputs else _recorded)(options)
    with computing(options, "verify") as compute:
        inputs = [opened(path, options) for path in paths]
        report = verify(options.lora, inputs, weights, block_weights, compute, options.reader)

    def shown() -> None:
        print_rows(report.modules, len(report.modules) if LOOK.verbose else 10)
        say([f"{judged(report)}, over {len(report.modules)} modules", *report.notes])

    row = {
        ">modules": len(report.modules),
        ">error": f"{report.relative_error:.3g}",
        ">kept": f"{report.retained_energy:.2%}",
        "made of": ", ".join(lora.name for lora in inputs),
    }
    return Done(report.as_dict(), shown, row, lambda: _refuse(report, options))


def _given(options: argparse.Namespace) -> tuple[list[str], list[float], str]:
    weights = weights_for(options, options.inputs)
    return options.inputs, weights, from_files(options.block_weights)


def _recorded(options: argparse.Namespace) -> tuple[list[str], list[float], str]:
    """(inputs, weights, block weights) as the file's recipe says them."""
    recipe = read_recipe(Lora(options.lora).metadata)
    if recipe is None:
        raise FileError(
            "has no recipe that says what it was made of",
            fix="say it: --inputs A B --weights 0.8 0.6",
            file=options.lora,
        )
    settings, what = recipe["settings"], recipe["operation"]
    usual = {"method": "sum", "balance": "none", "strength": "none", "layers": ""}
    odd = [name for name, value in usual.items() if settings.get(name, value) != value]
    if what not in SUMS or odd:
        raise FileError(
            f"was made by {what}{f' with {odd[0]}={settings[odd[0]]}' if odd else ''}, which is no "
            "weighted sum of its inputs",
            fix="lora-alloy recipe --run makes it again, to the bit",
            file=options.lora,
        )
    paths = []
    for entry in recipe["inputs"]:
        path = Path(options.lora).parent / file_name(entry["name"])
        state = state_of(path, entry["sha256"])
        if state not in (FOUND, UNKNOWN):
            raise FileError(
                f"{entry['name']}, of which it was made, is {state} (sha256 {entry['sha256']})",
                fix="put it there, or say --inputs",
                file=options.lora,
            )
        paths.append(str(path))
    weights = settings.get("weights") or [1.0]
    return paths, [float(w) for w in weights[: len(paths)]], settings.get("block_weights") or ""


def _refuse(report: Report, options: argparse.Namespace) -> None:
    """Raises FileError for a file that is not what it should be."""
    missing = [row for row in report.modules if row.action == "missing" and row.norm]
    unread = [row for row in missing if row.note]
    if unread:
        raise FileError(
            f"{unread[0].note}: {len(unread)} modules are lost to it",
            fix="convert it to another spelling, or say --for whom it is",
            file=options.lora,
        )
    if not report.relative_error <= options.max_error:
        raise FileError(
            f"total relative error {report.relative_error:.3g} is above {options.max_error:g}",
            fix="write it again at a higher rank, or in fp32",
            file=options.lora,
        )
    if missing:
        raise FileError(
            f"{len(missing)} of {len(report.modules)} modules are missing, "
            f"for example {missing[0].module}",
            fix="make it again, or give the inputs that it was made of",
            file=options.lora,
        )
