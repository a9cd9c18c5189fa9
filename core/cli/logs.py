"""--log FILE: what a command was asked, what it said, and how it ended."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

from ..errors import FileError
from ..version import version

# Colours and links of a terminal.
ESCAPES = re.compile(r"\x1b(\[[0-9;]*m|\]8;[^\x1b]*\x1b\\)")


class Tee:
    """A stream whose text goes into a log, too."""

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self.stream, self.log = stream, log

    def write(self, text: str) -> int:
        self.log.write(ESCAPES.sub("", text))
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def kept(options: argparse.Namespace) -> Iterator[None]:
    """Inside, what is printed goes to the end of the log, too, if one is wanted."""
    if options.log is None:
        yield
        return
    try:
        log = open(options.log, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    except OSError as error:
        problem = f"the log cannot be written ({error.strerror})"
        raise FileError(problem, fix="choose another path", file=options.log) from error
    began, ended, stdout = time.time(), "done", sys.stdout
    with log:
        _note(log, f"lora-alloy {version()}: {' '.join(options.given)}")
        try:
            with contextlib.redirect_stdout(Tee(stdout, log)):
                yield
        except BaseException as error:
            ended = f"{type(error).__name__}: {error}"
            log.write(traceback.format_exc())
            raise
        finally:
            _note(log, f"{ended} after {time.time() - began:.1f} s")


def _note(log: TextIO, text: str) -> None:
    log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
