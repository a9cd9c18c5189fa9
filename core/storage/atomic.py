"""A file that is whole or not there, however the program that writes it ends."""

import contextlib
import errno
import os
import secrets
import shutil
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, BinaryIO

from ..errors import FileError, Occupied

HINTS = {
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some disk space",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EFBIG: "choose another disk, this one takes no file of that size",
}
# What ends a program that may still clean up; Windows has no SIGHUP.
ENDINGS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def real_target(path: str | os.PathLike[str]) -> Path:
    """The file that a path means when links are followed, which need not be there yet.

    Raises FileError for what no file can take the place of: folders, devices, pipes.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise FileError(
            "a file name cannot contain a null character", fix="leave it out", file=repr(path)
        )
    target = Path(os.path.realpath(text))
    if os.path.isdir(target) or text.endswith((os.sep, "/")):
        raise FileError("is a folder", fix="give a file name ending in .safetensors", file=text)
    if not os.path.isdir(target.parent):
        raise FileError(f"the folder {target.parent} does not exist", fix="create it", file=text)
    if os.path.lexists(target) and not os.path.isfile(target):
        problem = "is a device, a pipe or a link that leads nowhere"
        raise FileError(problem, fix="choose another name", file=text)
    return target


def same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths mean one file, by links or by a file system that sees no difference."""
    try:
        return os.path.realpath(one) == os.path.realpath(other) or os.path.samefile(one, other)
    except OSError:
        return False


class AtomicFile:
    """`file` is to become the file at `path`, when it is complete and closed without an error.

    Until then it has no name and vanishes with the process, even a killed one. Systems without
    nameless files (only Linux has them, not on network drives) get a hidden one beside the target:
    `temporary` is its path, or None. Links are followed: the file that a link points to is replaced
    and the link stays. The mode is that of any new file (umask). With `replace` False no file is
    replaced, not even one that appears at the last moment.

    Raises FileError when the target cannot be written (missing folder, no permission, disk full),
    of them Occupied where there is a file that is not to be replaced.
    """

    def __init__(self, path: str | os.PathLike[str], replace: bool = True) -> None:
        self.path = real_target(path)
        self.replace = replace
        self.temporary: Path | None = None
        self.whole = self.placed = False
        self.together: Together | None = None
        if not replace and os.path.lexists(self.path):
            raise occupied(self.path)
        with self.errors():
            with contextlib.suppress(FileNotFoundError):
                os.lstat(self.path)  # A name that is too long is said now, not at the end.
            self.file = self._begin()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Inside, an error of the system is a FileError that names the target and a way out."""
        try:
            yield
        except OSError as error:
            raise FileError(
                f"cannot be written ({error.strerror or error})",
                fix=HINTS.get(error.errno or 0, "check the path"),
                file=str(self.path),
            ) from error

    def complete(self) -> None:
        """Everything is written.

        What replaces another file is on the disk before that one goes. A new file has nothing to
        lose but itself, and does not wait for the disk.
        """
        self.file.flush()
        if self.path.exists():
            os.fsync(self.file.fileno())
        self.whole = True

    def close(self, keep: bool) -> None:
        """Put a complete file in its place, if it is to be kept; of any other nothing stays."""
        with undisturbed():
            try:
                if self.whole and keep:
                    with self.errors():
                        if self.together:
                            self.together.put_aside(self.path)
                        self._put_in_place()
                        self.placed = True
            finally:
                # A full disk can fail again when the buffer is flushed; the file goes anyway.
                with contextlib.suppress(OSError):
                    self.file.close()
                if self.temporary is not None:
                    self.remove()

    def _begin(self) -> BinaryIO:
        # Not tempfile: its files are private to the user, ours get the usual permissions.
        if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                return open(self.path.parent, "w+b", opener=_nameless)
        self.temporary = self._hidden()
        return open(self.temporary, "x+b")

    def _hidden(self) -> Path:
        """A name beside the target. What has it goes when this object does, or the program ends."""
        path = self.path.with_name(f".{self.path.name[:64]}.{secrets.token_hex(6)}.part")
        self.remove = weakref.finalize(self, _remove, path)
        return path

    def _put_in_place(self) -> None:
        if self.temporary is None:
            try:
                return _link(self.file.fileno(), self.path)
            except FileExistsError:
                if not self.replace:
                    raise occupied(self.path) from None
                # Only a named file can replace another: this one has a name between two calls.
                self.temporary = self._hidden()
                _link(self.file.fileno(), self.temporary)
        self.file.close()
        if not self.replace:
            _claim(self.path)
        os.replace(self.temporary, self.path)


def write_file(path: str | os.PathLike[str], data: bytes, replace: bool = True) -> None:
    """A file with these bytes, whole or not at all. Raises FileError as AtomicFile does."""
    target = AtomicFile(path, replace)
    try:
        with target.errors():
            target.file.write(data)
            target.complete()
    finally:
        target.close(keep=target.whole)


class Together:
    """Files of one command, of which all get their places or none does.

    A file that is replaced keeps a second, hidden name until the block is left; with an error it is
    put back. No file system gives two files their names in one step: a program that is killed
    (SIGKILL, a power cut) between those of two files leaves the one, and hidden names; no other end
    does.
    """

    def __init__(self) -> None:
        self.files: list[AtomicFile] = []
        self.before: dict[Path, Path | None] = {}

    def add(self, file: AtomicFile) -> None:
        """Undo what this file does, unless the block is left without an error."""
        self.files.append(file)
        file.together = self

    def put_aside(self, path: Path) -> None:
        """Called right before a new file takes the path, for what is there now."""
        hidden = None
        if os.path.lexists(path):
            hidden = path.with_name(f".{path.name[:64]}.{secrets.token_hex(6)}.old")
            try:
                os.link(path, hidden)
            except OSError:  # A file system without second names.
                shutil.copy2(path, hidden)
        self.before[path] = hidden

    def __enter__(self) -> "Together":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with undisturbed():
            for file in self.files:
                hidden = self.before.get(file.path)
                with contextlib.suppress(OSError):
                    if kind is not None and file.placed:
                        if hidden is None:
                            file.path.unlink()
                        else:
                            os.replace(hidden, file.path)
                if hidden is not None:
                    _remove(hidden)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, signals that would interrupt the program wait: what takes a few calls is done whole.

    Python handles signals in its main thread alone; no other one is ever interrupted.
    """
    waiting: list[int] = []
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    main = threading.current_thread() is threading.main_thread()
    try:
        for number in ENDINGS if main else ():
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, lambda number, _: waiting.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(waiting):
            before[number](number, None)


def occupied(path: str | os.PathLike[str], fix: str = "choose another name") -> Occupied:
    """What to raise for a file that is there and is to stay."""
    return Occupied("is there already", fix=fix, file=os.fspath(path))


def _claim(path: Path) -> None:
    """Take a name that is free, for the file that gets it next. Raises Occupied where it is not."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        raise occupied(path) from None


def _nameless(folder: str, _: int) -> int:
    return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)


def _link(descriptor: int, path: Path) -> None:
    """Give an open file without a name this one. Raises FileExistsError where it is taken."""
    # Given a folder's descriptor (here any), os.link takes the call that can follow the first link.
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)


def _remove(path: Path) -> None:
    # Where the folder was locked meanwhile, the error on its way says so.
    with contextlib.suppress(OSError):
        path.unlink()
