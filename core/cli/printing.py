"""What people see, tables that fold and colour on terminals; JSON for machines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..quoting import terminal
from ..running.report import ModuleReport, Report, json_ready

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# Of a line that is not for a terminal: nothing is folded there.
ENDLESS = 100_000
FULL, EMPTY = "\u2588", "\u2591"
# The schema of every --json: it is raised where a key changes its meaning or goes.
SCHEMA = 1


# Of relative errors up to a bound, as practitioners find them in pictures.
JUDGEMENTS = (
    (1e-6, "nothing is lost"),
    (0.02, "not to be seen"),
    (0.1, "hardly to be seen"),
    (0.3, "to be seen in details"),
    (float("inf"), "plainly to be seen"),
)


@dataclass
class Look:
    """How much is said, and in which colours; `main` sets it for a run."""

    color: str = "auto"
    quiet: bool = False
    verbose: bool = False

    def errors(self, lines: Iterable[str]) -> None:
        """Print lines on standard error."""
        screen = console(stderr=True)
        for text in lines:
            screen.print(_text(f"lora-alloy: {text}", "red"), soft_wrap=True)


LOOK = Look()


def console(stderr: bool = False) -> Console:
    """Where to print. Nothing in a text is markup: texts come with other people's files."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    found = Console(
        file=stream,
        force_terminal=True if LOOK.color == "always" else None,
        no_color=True if LOOK.color == "never" else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    if not at_terminal(stream):
        found.width = ENDLESS
    return found


def at_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # Closed, or none at all.
        return False


def say(lines: Iterable[str], style: str = "") -> None:
    """Sentences, broken between words on a terminal."""
    if LOOK.quiet:
        return
    for sentence in lines:
        screen = console()
        for number, part in enumerate(_text(sentence, style).wrap(screen, screen.width - 2)):
            part.rstrip()
            screen.print("  " * bool(number), part, sep="", soft_wrap=True)


def line(text: str = "", style: str = "") -> None:
    """Print a line that is not broken, whatever files have put into it."""
    if not LOOK.quiet:
        console().print(_text(text, style), soft_wrap=True)


def written(path: str | Path) -> None:
    """Say where a file is; on terminals that can, it is a link."""
    line(f"written: {path}", f"link {Path(path).resolve().as_uri()}")


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(terminal(text), style, overflow="fold")


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table. A heading that begins with ">" is that of numbers, which stand on the right.

    On a narrow terminal texts fold, then numbers; nothing is left out. A cell that is a number from
    0 to 1 becomes a bar on a terminal, and its column is only there.
    """
    from rich.table import Table

    if LOOK.quiet:
        return
    shown = [tuple(row) for row in rows]
    filled = [i for i in range(len(headings)) if any(row[i] not in ("", None) for row in shown)]
    headings = [headings[i] for i in filled]
    shown = [tuple(row[i] for i in filled) for row in shown]
    bars = {i for row in shown for i, cell in enumerate(row) if isinstance(cell, float)}
    drawn = bars if at_terminal(sys.stdout) else set()
    kept = [i for i in range(len(headings)) if i not in bars or i in drawn]
    screen = console()
    least = {i: _least(headings[i], [row[i] for row in shown], i in bars) for i in kept}
    if sum(least.values()) + 2 * len(least) > screen.width:
        _cards([headings[i] for i in kept if i not in bars],
               [[row[i] for i in kept if i not in bars] for row in shown])  # fmt: skip
        return
    result = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
        show_header=any(headings),
    )
    for i in kept:
        number = headings[i].startswith(">")
        result.add_column(
            _text(headings[i].removeprefix(">")),
            justify="right" if number else "left",
            min_width=least[i],
            overflow="fold",
        )
    for row in shown:
        result.add_row(*(_bar(row[i]) if i in bars else _text(str(row[i])) for i in kept))
    with screen.capture() as capture:
        screen.print(result)
    # Cells are filled up to their width: what is piped has no spaces at the end.
    for text in capture.get().splitlines():
        sys.stdout.write(text.rstrip() + "\n")


def _least(heading: str, cells: Sequence[Any], bar: bool) -> int:
    """How narrow a column can be: numbers and words of a heading stay in one piece."""
    words = max(map(len, heading.removeprefix(">").split()), default=0)
    if bar:
        return 12
    widest = max((len(str(cell)) for cell in cells), default=0)
    return max(words, widest if heading.startswith(">") else min(widest, 16))


def _cards(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table where there is no room for one: a row's first cell, and below it what the others
    say."""
    names = [heading.removeprefix(">") for heading in headings]
    for first, *others in rows:
        line(str(first), "bold")
        cells = zip(names[1:], others, strict=True)
        say(["  " + ", ".join(f"{name} {cell}" for name, cell in cells if cell not in ("", "-"))])


def _bar(share: float, width: int = 12) -> Text:
    from rich.text import Text

    full = round(min(max(share, 0.0), 1.0) * width)
    return Text(FULL * full, "cyan").append(EMPTY * (width - full), "dim")


def print_json(
    value: Mapping[Any, Any], options: argparse.Namespace, one_line: bool = False
) -> None:
    """A report for machines. It is ASCII, and has null where JSON has no number."""
    value = {"schema": SCHEMA, "command": options.command, **value}
    print(json.dumps(json_ready(value), indent=None if one_line else 1, allow_nan=False))


def show(report: Report, options: argparse.Namespace, every_row: bool = False) -> None:
    if options.json:
        print_json(report.as_dict(), options)
        return
    lost = sum(row.relative_error > 0 for row in report.kept)
    if every_row or lost:
        print_rows(report.modules, len(report.modules) if every_row else 5)
    few = 8
    lines = report.summary()
    lines = lines[: len(lines) - len(report.notes)]
    say(lines[:few])
    if len(lines) > few:
        say([f"... and {len(lines) - few} more lines: --json shows all"], "dim")
    say(report.notes)  # However long the lists of layers are.
    if report.output:
        written(report.output)


def judged(report: Report) -> str:
    """The error in words: what is kept, and whether that is to be seen."""
    error, kept = report.relative_error, report.retained_energy
    words = next(text for most, text in JUDGEMENTS if error <= most)
    return f"relative error {error:.3g}: {kept:.1%} of the energy kept, {words}"


def print_rows(rows: Sequence[ModuleReport], count: int) -> None:
    """The modules that lost most."""
    shown = sorted(rows, key=lambda row: -row.relative_error)[:count]
    if count >= len(rows):
        shown = list(rows)
    table(
        ("module", "action", ">ranks", ">rank", ">kept", ">error"),
        (
            (
                row.module,
                row.action,
                "+".join("-" if rank is None else str(rank) for rank in row.ranks),
                "-" if row.rank is None else row.rank,
                *row.figures,
            )
            for row in shown
        ),
    )
    if len(shown) < len(rows):
        say([f"({len(rows) - len(shown)} more modules with smaller errors)"], "dim")
