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
from . import logs
from .catalogue import called, parser_of
from .front import front_parser
from .printing import LOOK, print_json
from .streams import speaking


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0, or 1 for an error; wrong usage exits with 2."""
    with speaking():
        return run(parsed(sys.argv[1:] if arguments is None else arguments))


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, checked; `run` in them is what they ask for."""
    front = front_parser().parse_args(plain(arguments))
    front.given, words = list(arguments), front.words
    del front.words
    parsed: argparse.Namespace = parser_of(called(front.command)).parse_args(words, front)
    return parsed


def run(options: argparse.Namespace) -> int:
    """The exit status of a command, after one line for what went wrong."""
    LOOK.color, LOOK.quiet, LOOK.verbose = options.color, options.quiet, options.verbose
    options.program = main
    try:
        with terminable(), enough_memory(), logs.kept(options):
            status: int | None = options.run(options)
            sys.stdout.flush()
    except (LoraError, Cancelled) as error:
        return _failed(options, error)
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
    return status or 0


def _failed(options: argparse.Namespace, error: Exception) -> int:
    """Say it in a line, and with --json as an object, too."""
    print(f"lora-alloy: {error}", file=sys.stderr)
    if getattr(options, "json", False):
        print_json(
            {"error": error.told() if isinstance(error, LoraError) else {"problem": str(error)}},
            options,
        )
    return 1


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
