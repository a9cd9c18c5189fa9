"""Options that several commands have, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from typing import Any

from ..reading.base_model import BaseModel
from ..reading.lora import Lora, Reading
from ..running.metadata import KEEP, METADATA_CHOICES, TITLE, TRIGGER, Wishes
from ..running.output import DTYPE_CHOICES, SPELLING_CHOICES, Output
from .outputs import force_option
from .parser import float_

# A number, (pattern, number), or the numbers of a range.
Weight = float | tuple[str, float] | list[float]

SELECTOR_HELP = (
    "which layers, by canonical name: comma-separated patterns, * for anything, 0-9 for a range of "
    "blocks, a leading - to exclude, te and unet, the file's own names, such as "
    "'double_blocks.0-9, -*mod*' (names: lora-alloy info)"
)


def output_options(parser: argparse.ArgumentParser, required: bool) -> None:
    group = parser.add_argument_group("output and computing")
    group.add_argument("-o", "--output", required=required, metavar="OUT", help="file to write")
    group.add_argument(
        "--dtype",
        choices=DTYPE_CHOICES,
        default="match",
        help="of the written factors (default: as in A)",
    )
    group.add_argument(
        "--spelling",
        choices=SPELLING_CHOICES,
        default="match",
        help="key names of the result (default: as in A)",
    )
    force_option(group)
    compute_options(group)
    group.add_argument(
        "--verify",
        action="store_true",
        help="read the written file again and measure it; status 1 when it is wrong",
    )
    json_option(group)
    metadata_options(parser)


def metadata_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what the file says about itself")
    group.add_argument(
        "--metadata",
        choices=METADATA_CHOICES,
        default=KEEP,
        help="keep what is true; minimal: only what other programs need; none (default keep)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        type=_pair,
        metavar="KEY=VALUE",
        help="add or replace an entry; may be given several times",
    )
    group.add_argument(
        "--unset",
        action="append",
        default=[],
        metavar="KEY",
        help="remove an entry; may be given several times",
    )
    group.add_argument("--title", help=f"its title ({TITLE})")
    group.add_argument("--trigger", metavar="WORDS", help=f"words for the prompt ({TRIGGER})")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} must read key=value")
    return key.strip(), value


def wishes(options: argparse.Namespace) -> Wishes:
    """What the file is to say, as the options have it."""
    named = ((TITLE, options.title), (TRIGGER, options.trigger))
    told = [(key, value) for key, value in named if value is not None]
    return Wishes(options.metadata, (*told, *options.set), tuple(options.unset))


def reading_options(parser: argparse.ArgumentParser, base: bool = True) -> None:
    group = parser.add_argument_group("reading, where it is to be other than ComfyUI's")
    group.add_argument(
        "--drop-magnitude",
        action="store_true",
        help="read DoRA as its low-rank part alone; that is not the update that was trained",
    )
    if base:
        group.add_argument(
            "--base",
            metavar="MODEL",
            help="the base model (a checkpoint, or a folder of diffusers): what DoRA, GLoRA, OFT "
            "and BOFT do to its weights becomes a plain update",
        )
    group.add_argument(
        "--scale-from-metadata",
        action="store_true",
        help="scale as diffusers does by the alpha in the metadata, which ComfyUI ignores",
    )


def opened(path: str, options: argparse.Namespace) -> Lora:
    """The file, read as the options say."""
    if isinstance(options.base, str):  # Once, for all files.
        options.base = BaseModel(options.base)
    reading = Reading(options.drop_magnitude, options.scale_from_metadata)
    return Lora(path, reading=reading, base=options.base)


def weights_option(parser: Any, text: str) -> None:
    parser.add_argument(
        "--weights", metavar="W", nargs="+", type=_weight, default=[1.0],
        help=f"{text}; one for each, or one for all (default 1), or by names, 'epoch*=0.25', of "
        "which the last that fits counts",
    )  # fmt: skip


def _weight(text: str) -> Weight:
    """A number, PATTERN=NUMBER, or FROM:TO:STEP."""
    if text.count(":") == 2:
        return _range(*map(float_, text.split(":")))
    pattern, equals, number = text.rpartition("=")
    return (pattern, float_(number)) if equals else float_(number)


def _range(first: float, last: float, step: float) -> list[float]:
    if not step or (last - first) / step < 0 or (last - first) / step > 1000:
        raise argparse.ArgumentTypeError(f"{first:g}:{last:g}:{step:g} never gets there")
    # Rounded: 0.1 + 0.2 is to be called 0.3.
    count = int((last - first) / step + 1e-9)
    return [round(first + i * step, 9) for i in range(count + 1)]


def grid_of(options: argparse.Namespace, files: Sequence[str]) -> list[tuple[float, ...]]:
    """The weights of every file to write, all combinations of the ranges that are among them."""
    ranges: list[Weight] = options.weights
    if not any(isinstance(one, list) for one in ranges):
        return [tuple(weights_for(options, files))]
    if len(ranges) != len(files) or any(isinstance(one, tuple) for one in ranges):
        options.parser.error("a grid takes a number or a range for each file")
    numbers = [one if isinstance(one, list) else [float(str(one))] for one in ranges]
    return list(product(*numbers))


def compute_options(parser: Any) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default auto)")
    parser.add_argument(
        "--compute-dtype",
        choices=("float32", "float64"),
        default="float32",
        help="precision of the computation (default float32)",
    )


def json_option(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print a report for machines instead")


def weights_for(options: argparse.Namespace, files: Sequence[str]) -> list[float]:
    """One weight for each file; a single one counts for all."""
    given: list[Any] = options.weights
    if any(isinstance(one, list) for one in given):
        options.parser.error("a range of weights is for blend")
    by_name = [one for one in given if isinstance(one, tuple)]
    if by_name and len(by_name) < len(given):
        options.parser.error("--weights takes numbers or PATTERN=NUMBER, not some of both")
    if by_name:
        from ..edits.blend_settings import weights_by_name

        return weights_by_name(dict(by_name), files)
    if len(given) not in (1, len(files)):
        options.parser.error(
            f"{len(given)} weights for {len(files)} file(s); give one for each, or one for all of "
            "them"
        )
    return given * (len(files) if len(given) == 1 else 1)


def output_settings(options: argparse.Namespace, path: str | None) -> Output:
    return Output(path, options.dtype, options.spelling, wishes(options), options.force)
