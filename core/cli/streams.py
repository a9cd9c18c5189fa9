"""Standard output and error: whatever they are, what is said is said, or that it cannot be."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any


class Closed(io.TextIOBase):
    """Standard output that was closed before the program began."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "it is closed")


@contextlib.contextmanager
def speaking() -> Iterator[None]:
    """Inside, both streams are there and take every character.

    What a stream's encoding does not have is written as an escape. A closed standard output is an
    error as soon as something is to be shown; without a standard error the exit status has to do.
    """
    _occupy_descriptors()
    before = sys.stdout, sys.stderr
    if _gone(sys.stdout):
        sys.stdout = Closed()
    if _gone(sys.stderr):
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    errors = [_escape(stream) for stream in (sys.stdout, sys.stderr)]
    try:
        yield
    finally:
        for stream, how in zip((sys.stdout, sys.stderr), errors, strict=True):
            if how is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.reconfigure(errors=how)  # type: ignore[union-attr]
        if sys.stderr is not before[1]:
            sys.stderr.close()
        sys.stdout, sys.stderr = before


def _gone(stream: Any) -> bool:
    return stream is None or stream.closed


def _escape(stream: Any) -> str | None:
    """Make a stream write escapes for what it has no character for; returns what it did before."""
    if not isinstance(stream, io.TextIOWrapper):
        return None
    before = stream.errors
    with contextlib.suppress(OSError, ValueError):
        stream.reconfigure(errors="backslashreplace")
    return before


def _occupy_descriptors() -> None:
    """A file opened while 1 or 2 is closed would get that number, and what libraries print."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
