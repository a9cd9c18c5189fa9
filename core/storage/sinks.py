"""Streaming writing: tensor after tensor into a state dict or a new safetensors file.

A file has no name while it is written and gets the target's at the end: a failed, cancelled or
killed run leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from ..deferred import Tensor, torch
from ..errors import FileError, SettingError
from .atomic import AtomicFile
from .dtypes import DTYPE_NAMES, TensorInfo
from .files import StateDict
from .headers import MOST_BYTES

METADATA = "__metadata__"


def check_metadata(metadata: object) -> None:
    """Raises SettingError for metadata that no file can hold: text only, no half characters."""
    if not isinstance(metadata, Mapping):
        raise SettingError(
            f"metadata is a {type(metadata).__name__}, not a mapping",
            fix="give a dict of text -> text",
        )
    for pair in metadata.items():
        for text in pair:
            if not isinstance(text, str):
                raise SettingError(
                    f"metadata {pair[0]!r} holds a {type(text).__name__}, and files hold only text",
                    fix="make it text, or leave it out",
                )
            if not _encodable(text):
                raise SettingError(
                    f"metadata {pair[0]!a} holds half of a character (a lone surrogate)",
                    fix="leave it out",
                )


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# The old hash of a LoRA is that of these bytes of its file alone.
LEGACY_START, LEGACY_BYTES = 0x100000, 0x10000


class FileHashes(NamedTuple):
    """SHA-256 of what a file holds after its header, and of the piece that the old hash reads.

    `legacy` is None where that piece lies in the header, which would have to hold its own hash.
    """

    data: str
    legacy: str | None


Metadata = Mapping[str, str] | Callable[[FileHashes | None], Mapping[str, str]]


def header_bound(keys: Iterable[str], metadata_bytes: int) -> int:
    """An upper bound of the bytes of a header with these tensors, of up to five dimensions."""
    return sum(json_bytes(key) + 130 for key in keys) + metadata_bytes + 64


def json_bytes(text: str) -> int:
    """How long a text is in a header, which is UTF-8 and no ASCII."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))


class DictSink:
    """Collects an edit's output in memory, as contiguous CPU tensors that share no storage.

    `keep` False collects nothing.
    """

    def __init__(self, keep: bool = True) -> None:
        self.result = StateDict()
        self.keep = keep

    def put(self, key: str, tensor: Tensor) -> None:
        if not self.keep:
            return
        # The clone keeps the result independent of the inputs.
        copied = tensor.detach().to("cpu", copy=True)
        self.result[key] = copied.contiguous()

    def finish(self, metadata: Metadata) -> None:
        found = metadata(None) if callable(metadata) else metadata
        self.result.metadata = dict(found) if self.keep else {}

    def __enter__(self) -> DictSink:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def header_space(reserve: int) -> int:
    """Bytes of the header for which `reserve` bytes are kept: it is padded to that."""
    return min(-(-reserve // 8) * 8, MOST_BYTES)


class FileSink:
    """Writes a safetensors file tensor by tensor; the target appears whole, at the end, or never.

    The size of the header is only known at the end, so `reserve` bytes are left free for it; a
    header that turns out larger costs one copy of the data. Tensors whose size is not a multiple of
    8 bytes (alphas, above all) are kept until the end, so that every tensor starts aligned; with
    `as_given` the data lie in the order in which they came. `hashed` computes hashes on the way.

    Raises FileError when the target cannot be written: missing folder, no permission, disk full.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        reserve: int = 1 << 16,
        hashed: bool = False,
        as_given: bool = False,
        replace: bool = True,
    ) -> None:
        self.target = AtomicFile(path, replace)
        self.header_bytes = header_space(reserve)
        self.digest = hashlib.sha256() if hashed else None
        self.as_given = as_given
        self.entries: dict[str, TensorInfo] = {}
        self.offsets: dict[str, int] = {}
        self.position = 0
        # As bytes: such small tensors, kept among large ones that come and go, would lie between
        # them in memory, which then grows with the number of modules.
        self.unaligned: dict[str, bytes] = {}
        self.file = self.target.file
        with self.target.errors():
            self.file.seek(8 + self.header_bytes)

    @property
    def path(self) -> Path:
        return self.target.path

    @property
    def file_bytes(self) -> int:
        """The size of the file, as far as it is written."""
        return 8 + self.header_bytes + self.position

    def put(self, key: str, tensor: Tensor) -> None:
        tensor = tensor.detach().cpu().contiguous()
        info = TensorInfo.of(tensor)
        if key in self.entries:
            raise FileError(
                "would be written twice", fix="give it two names", file=str(self.path), tensor=key
            )
        if key == METADATA or not _encodable(key):
            problem = "is no name that a tensor in a file can have"
            raise FileError(
                problem, fix="give it another", file=str(self.path), tensor=ascii(key)[1:-1]
            )
        if info.dtype_name not in DTYPE_NAMES:
            raise FileError(
                f"is {info.dtype}, which cannot be written",
                fix="make it fp32, fp16 or bf16",
                file=str(self.path),
                tensor=key,
            )
        self.entries[key] = info
        data = tensor.reshape(-1).view(torch.uint8).numpy().data
        if info.bytes % 8 and not self.as_given:
            self.unaligned[key] = bytes(data)
        else:
            self._append(key, data)

    def _append(self, key: str, data: bytes | memoryview) -> None:
        self.offsets[key] = self.position
        if self.digest is not None:
            self.digest.update(data)
        with self.target.errors():
            self.position += self.file.write(data)

    def finish(self, metadata: Metadata) -> None:
        """Write what is left and the header; leaving the block puts the file in its place.

        The metadata can be a function of the file's hashes. Raises SettingError for metadata that
        no file can hold, FileError for a header that no program would read.
        """
        # Wide items first: each then starts at a multiple of its own item size.
        for key in sorted(self.unaligned, key=lambda k: -self.entries[k].item_bytes):
            self._append(key, self.unaligned[key])
        with self.target.errors():
            found, text = self._header(metadata)
            if len(text) > self.header_bytes:
                self._make_room(len(text))
                found, text = self._header(metadata)  # The old hash is another one now.
            self.file.seek(0)
            self.file.write(self.header_bytes.to_bytes(8, "little"))
            self.file.write(text.ljust(self.header_bytes))
            self.file.flush()
            self._read_again(found)
            self.target.complete()

    def _header(self, metadata: Metadata) -> tuple[Mapping[str, str], bytes]:
        """(the metadata, the header's bytes)."""
        found = metadata(self._hashes()) if callable(metadata) else metadata
        check_metadata(found)
        header: dict[str, Any] = {METADATA: dict(sorted(found.items()))}
        for key in sorted(self.offsets, key=self.offsets.__getitem__):
            info, start = self.entries[key], self.offsets[key]
            header[key] = {
                "dtype": DTYPE_NAMES[info.dtype_name],
                "shape": list(info.shape),
                "data_offsets": [start, start + info.bytes],
            }
        # Not ASCII: its escapes double Chinese text, and readers limit the header.
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > MOST_BYTES:
            raise FileError(
                f"its header would have {len(text) / 1e6:.0f} MB, and programs read no more "
                f"than {MOST_BYTES / 1e6:.0f}",
                fix="keep less of the metadata",
                file=str(self.path),
            )
        return found, text

    def _hashes(self) -> FileHashes | None:
        if self.digest is None:
            return None
        legacy = None
        if 8 + self.header_bytes <= LEGACY_START:
            self.file.seek(LEGACY_START)
            legacy = hashlib.sha256(self.file.read(LEGACY_BYTES)).hexdigest()
        return FileHashes(self.digest.hexdigest(), legacy)

    def _read_again(self, metadata: Mapping[str, str]) -> None:
        """Raises FileError where a reader would not find in the file what was put into it."""
        named = self.target.temporary or f"/proc/self/fd/{self.file.fileno()}"
        try:
            handle: Any = safe_open(str(named), framework="np")
            found = set(handle.keys()) == self.entries.keys()
            if not found or (handle.metadata() or {}) != dict(metadata):
                raise SafetensorError("it holds something else")
        except (SafetensorError, RuntimeError, MemoryError) as error:
            raise FileError(
                f"cannot be read again after it was written ({error})",
                fix="check the disk and the memory, and run again",
                file=str(self.path),
            ) from error

    def _make_room(self, needed: int) -> None:
        """Move the data towards the end of the file, last block first."""
        old, self.header_bytes = self.header_bytes, -(-needed // 8) * 8
        shift, block = self.header_bytes - old, 1 << 20
        for start in reversed(range(0, self.position, block)):
            self.file.seek(8 + old + start)
            data = self.file.read(min(block, self.position - start))
            self.file.seek(8 + old + start + shift)
            self.file.write(data)

    def __enter__(self) -> FileSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.target.close(keep=kind is None)
