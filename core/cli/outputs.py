"""The files that a command writes: refused before anything is computed, or asked about."""

import argparse
import os
import sys
from collections.abc import Iterable
from typing import Any

from ..errors import FileError
from ..insight.drawing import LIGHT, THEMES
from ..storage.atomic import AtomicFile, occupied, real_target, same_file

LORA, CSV, CHART = (".safetensors",), (".csv",), (".png", ".svg")
CONFIG = (".yaml", ".toml", ".txt", ".json")


def force_option(parser: Any) -> None:
    parser.add_argument("--force", action="store_true", help="replace files that are there already")


def theme_option(parser: Any) -> None:
    parser.add_argument(
        "--theme", choices=THEMES, default=LIGHT, help="colours of the chart (default light)"
    )


def claim(
    options: argparse.Namespace,
    inputs: Iterable[str],
    *outputs: tuple[str | None, tuple[str, ...]],
) -> None:
    """Make sure of all files that a command is to write; each comes with the endings it can have.

    Raises FileError for another ending, an input, a file that two outputs share, one that cannot be
    written, and one that is there already and that neither --force nor a person at the terminal
    gives up. After that `options.force` says that outputs are to be replaced.
    """
    paths: list[str] = []
    for path, endings in outputs:
        if path is None:
            continue
        if os.path.splitext(path)[1].lower() not in endings:
            ways = " or ".join(endings)
            fix = f"call it {os.path.splitext(path)[0]}{endings[0]}"
            raise FileError(f"what is written there is a {ways} file", fix=fix, file=path)
        real_target(path)
        if any(same_file(path, one) for one in inputs):
            raise FileError("the output is one of the inputs", fix="choose another", file=path)
        if any(same_file(path, one) for one in paths):
            raise FileError("two outputs would be this file", fix="choose another", file=path)
        paths.append(path)
    there = [path for path in paths if os.path.lexists(real_target(path))]
    if there and not options.force:
        if not _agreed(there):
            raise occupied(there[0], "choose another name, or replace it with --force")
        options.force = True
    for path in paths:
        AtomicFile(path, options.force).close(keep=False)  # Whether it can be begun at all.


def _agreed(paths: list[str]) -> bool:
    """Whether a person at a terminal says that these files may go."""
    try:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
    except (AttributeError, ValueError):  # Closed, or none at all.
        return False
    print(f"replace {', '.join(paths)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
