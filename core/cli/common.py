"""What the commands share: options, progress bars, and how reports look on a terminal."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..deferred import torch
from ..edits.blend_settings import weights_by_name
from ..edits.edit import Edited
from ..edits.verify import check
from ..quoting import terminal
from ..reading.lora import Lora, Reading
from ..running.metadata import KEEP, METADATA_CHOICES, TITLE, TRIGGER, Wishes
from ..running.output import DTYPE_CHOICES, SPELLING_CHOICES, Output
from ..running.report import ModuleReport, Report, json_ready
from ..running.stream import Compute, choose_device
from .outputs import force_option
from .parser import float_

SELECTOR_HELP = (
    "which layers, by canonical name: comma-separated patterns, * for anything, 0-9 for a range of "
    "blocks, a leading - to exclude, te and unet, the file's own names, such as "
    "'double_blocks.0-9, -*mod*' (names: lora-alloy info)"
)


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run, parser=parser)
    return parser


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


def reading_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reading, where it is to be other than ComfyUI's")
    group.add_argument(
        "--drop-magnitude",
        action="store_true",
        help="read DoRA as its low-rank part alone; that is not the update that was trained",
    )
    group.add_argument(
        "--scale-from-metadata",
        action="store_true",
        help="scale as diffusers does by the alpha in the metadata, which ComfyUI ignores",
    )


def opened(path: str, options: argparse.Namespace) -> Lora:
    """The file, read as the options say."""
    return Lora(path, reading=Reading(options.drop_magnitude, options.scale_from_metadata))


def weights_option(parser: Any, text: str) -> None:
    parser.add_argument(
        "--weights", metavar="W", nargs="+", type=_weight, default=[1.0],
        help=f"{text}; one for each, or one for all (default 1), or by names, 'epoch*=0.25', of "
        "which the last that fits counts",
    )  # fmt: skip


def _weight(text: str) -> float | tuple[str, float]:
    """A number, or PATTERN=NUMBER."""
    pattern, equals, number = text.rpartition("=")
    return (pattern, float_(number)) if equals else float_(number)


def compute_options(parser: Any) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default auto)")
    parser.add_argument(
        "--compute-dtype",
        choices=("float32", "float64"),
        default="float32",
        help="precision of the computation (default float32)",
    )


def say(lines: Iterable[str]) -> None:
    """Sentences, broken between words where a terminal would break them anywhere."""
    for sentence in map(terminal, lines):
        if sys.stdout.isatty():
            width = max(shutil.get_terminal_size().columns, 40)
            sentence = textwrap.fill(
                sentence, width, subsequent_indent="  ", break_long_words=False,
                break_on_hyphens=False,
            )  # fmt: skip
        print(sentence)


def line(text: str) -> None:
    """Print a line, whatever files have put into it."""
    print(terminal(text))


def json_option(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print a report for machines instead")


def print_json(value: object) -> None:
    """A report for machines. It is ASCII, and has null where JSON has no number."""
    print(json.dumps(json_ready(value), indent=1, allow_nan=False))


def weights_for(options: argparse.Namespace, files: Sequence[str]) -> list[float]:
    """One weight for each file; a single one counts for all."""
    given: list[Any] = options.weights
    by_name = [one for one in given if isinstance(one, tuple)]
    if by_name and len(by_name) < len(given):
        options.parser.error("--weights takes numbers or PATTERN=NUMBER, not some of both")
    if by_name:
        return weights_by_name(dict(by_name), files)
    if len(given) not in (1, len(files)):
        options.parser.error(
            f"{len(given)} weights for {len(files)} file(s); give one for each, or one for all of "
            "them"
        )
    return given * (len(files) if len(given) == 1 else 1)


@contextmanager
def computing(options: argparse.Namespace, label: str) -> Iterator[Compute]:
    """The compute settings, with a progress bar on a terminal while the block runs."""
    from tqdm import tqdm

    bar = tqdm(desc=label, unit="module", leave=False, disable=not sys.stderr.isatty())

    def progress(done: int, total: int, name: str) -> None:
        bar.total = total
        bar.update(done - bar.n)

    def fell_back(name: str) -> None:
        bar.write(
            f"{terminal(name)}: no room on {options.device}; computed on the CPU", file=sys.stderr
        )

    dtype = getattr(torch, getattr(options, "compute_dtype", "float64"))
    with bar:
        yield Compute(choose_device(options.device), dtype, progress, fell_back=fell_back)


def output_settings(options: argparse.Namespace, path: str | None) -> Output:
    return Output(path, options.dtype, options.spelling, wishes(options), options.force)


def verify_written(
    edited: Edited,
    inputs: Sequence[Lora],
    options: argparse.Namespace,
    weights: Sequence[float] = (1.0,),
    block_weights: str = "",
) -> None:
    """With --verify, measure what was written, and say so in the report's notes."""
    if not options.verify or edited.report.output is None:
        return
    compute = Compute(choose_device(options.device), torch.float64)
    measured = check(edited, inputs, weights, block_weights, compute)
    worst = max(measured.modules, key=lambda row: row.relative_error)
    edited.report.notes.append(
        f"verified: read again, relative error {measured.relative_error:.3g} with the rounding of "
        f"the file over {len(measured.modules)} modules, at most {worst.relative_error:.3g} "
        f"({worst.module})"
    )


def show(report: Report, options: argparse.Namespace, every_row: bool = False) -> None:
    if options.json:
        print_json(report.as_dict())
        return
    lost = sum(row.relative_error > 0 for row in report.kept)
    if every_row or lost:
        print_rows(report.modules, len(report.modules) if every_row else 5)
    few = 8
    lines = report.summary()
    lines = lines[: len(lines) - len(report.notes)]
    for sentence in lines[:few]:
        line(sentence)
    if len(lines) > few:
        line(f"... and {len(lines) - few} more lines: --json shows all")
    for note in report.notes:  # However long the lists of layers are.
        line(note)
    if report.output:
        line(f"written: {report.output}")


def print_rows(rows: Sequence[ModuleReport], count: int) -> None:
    """The modules that lost most, as an aligned table."""
    shown = sorted(rows, key=lambda row: -row.relative_error)[:count]
    if count >= len(rows):
        shown = list(rows)
    width = max(len("module"), *(len(row.module) for row in shown))
    line(f"{'module':<{width}}  {'action':<12}  {'ranks':>9}  {'rank':>5}  {'kept':>8}  error")
    for row in shown:
        ranks = "+".join("-" if rank is None else str(rank) for rank in row.ranks)
        rank = "-" if row.rank is None else row.rank
        kept, lost = row.figures
        line(f"{row.module:<{width}}  {row.action:<12}  {ranks:>9}  {rank:>5}  {kept:>8}  {lost}")
    if len(shown) < len(rows):
        line(f"({len(rows) - len(shown)} more modules with smaller errors)")
