"""Before a safetensors file is read: which file it is, and its header, checked by safetensors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# Of a header: safetensors itself reads no larger one.
MOST_BYTES = 100_000_000


class State(NamedTuple):
    """Differs when another file is in the path's place, or the file was written to."""

    inode: int
    size: int
    written: int


def state_of(found: os.stat_result) -> State:
    return State(found.st_ino, found.st_size, found.st_mtime_ns)


def header_of(path: Path) -> bytes:
    """The length of the header and the header, or what there is of it."""
    with open(path, "rb", buffering=0) as file:
        length = file.read(8)
        return length + (file.read(min(int.from_bytes(length, "little"), MOST_BYTES)) or b"")


@contextmanager
def checked(path: Path, header: bytes, size: int) -> Iterator[str]:
    """A file for safetensors to check: the header, and a hole as large as the numbers.

    Systems that have no files in memory do not let a file be cut while it is mapped (Windows), or
    keep the risk for the moment that opening takes.
    """
    if not hasattr(os, "memfd_create"):
        yield str(path)
        return
    descriptor = os.memfd_create("header")
    try:
        with open(descriptor, "wb", buffering=0, closefd=False) as file:
            file.write(header)
            file.truncate(max(size, len(header)))
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
