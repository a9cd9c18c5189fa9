"""The program: its commands, exit statuses and signals. Also `python -m core` from a clone."""

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from decimal import Decimal

from ..errors import Cancelled, LoraError
from ..running.threads import enough_memory
from ..version import version
from . import analysis, average, compare, demo, edits, metadata, reading, recipe
from .parser import Parser
from .streams import speaking


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0, or 1 for an error; wrong usage exits with 2."""
    with speaking():
        parser = build_parser()
        options = parser.parse_args(plain(sys.argv[1:] if arguments is None else arguments))
        return run(options)


def run(options: argparse.Namespace) -> int:
    """The exit status of a command, after one line for what went wrong."""
    try:
        with terminable(), enough_memory():
            options.run(options)
            sys.stdout.flush()
    except (LoraError, Cancelled) as error:
        print(f"lora-alloy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lora-alloy: interrupted; no file is half written", file=sys.stderr)
        return 1
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # A reader that has left, such as `head`.
            print(f"lora-alloy: the output cannot be shown ({error})", file=sys.stderr)
        # What is still in the buffer would fail again at the end of the program.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM and a closed terminal end the command as Ctrl-C does, all cleaned up."""
    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # Where there is a handler somebody else decides; `nohup` ignores SIGHUP.
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def plain(arguments: Sequence[str]) -> list[str]:
    """The arguments without what argparse takes for options because of a leading minus.

    `--layers -*mod*` becomes `--layers=-*mod*`, the number `-1e-3` becomes `-0.001`.
    """
    result: list[str] = []
    for argument in arguments:
        if result and result[-1] in ("--layers", "--always"):
            result[-1] += "=" + argument
        elif re.fullmatch(r"-(\d+\.?\d*|\.\d+)[eE][+-]?\d{1,3}", argument):
            result.append(f"{Decimal(argument):f}")
        else:
            result.append(argument)
    return result


def build_parser() -> Parser:
    parser = Parser(
        prog="lora-alloy",
        description="Blend, shrink, take apart and check LoRA files, exactly and fast.",
    )
    parser.add_argument("--version", action="version", version=f"lora-alloy {version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (reading, analysis, compare, edits, average, metadata):
        group.add(commands)
    recipe.add(commands, main)
    demo.add(commands, main)
    return parser
