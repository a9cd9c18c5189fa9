"""Streaming writing: tensor after tensor into a state dict or a new safetensors file.

A file has no name while it is written and gets the target's at the end: a failed, cancelled or
killed run leaves nothing behind.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import FileError, SettingError
from .atomic import AtomicFile
from .files import DTYPE_NAMES, MOST_BYTES, StateDict, TensorInfo

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


def header_bound(keys: Iterable[str], metadata_bytes: int) -> int:
    """An upper bound of the bytes of a header with these tensors, of up to five dimensions."""
    return sum(len(json.dumps(key)) + 130 for key in keys) + metadata_bytes + 64


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

    def finish(self, metadata: Mapping[str, str]) -> None:
        self.result.metadata = dict(metadata) if self.keep else {}

    def __enter__(self) -> "DictSink":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FileSink:
    """Writes a safetensors file tensor by tensor; the target appears whole, at the end, or never.

    The size of the header is only known at the end, so `reserve` bytes are left free for it; a
    header that turns out larger costs one copy of the data. Tensors whose size is not a multiple of
    8 bytes (alphas, above all) are kept until the end, so that every tensor starts aligned.

    Raises FileError when the target cannot be written: missing folder, no permission, disk full.
    """

    def __init__(
        self, path: str | os.PathLike[str], reserve: int = 1 << 16, replace: bool = True
    ) -> None:
        self.target = AtomicFile(path, replace)
        self.header_bytes = min(-(-reserve // 8) * 8, MOST_BYTES)
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

    def put(self, key: str, tensor: Tensor) -> None:
        tensor = tensor.detach().cpu().contiguous()
        info = TensorInfo(tensor.dtype, tuple(tensor.shape))
        if key in self.entries:
            raise FileError(
                "would be written twice", fix="give it two names", file=str(self.path), tensor=key
            )
        if key == METADATA or not _encodable(key):
            problem = "is no name that a tensor in a file can have"
            raise FileError(
                problem, fix="give it another", file=str(self.path), tensor=ascii(key)[1:-1]
            )
        if info.dtype not in DTYPE_NAMES:
            raise FileError(
                f"is {info.dtype}, which cannot be written",
                fix="make it fp32, fp16 or bf16",
                file=str(self.path),
                tensor=key,
            )
        self.entries[key] = info
        data = tensor.reshape(-1).view(torch.uint8).numpy().data
        if info.bytes % 8:
            self.unaligned[key] = bytes(data)
        else:
            self._append(key, data)

    def _append(self, key: str, data: bytes | memoryview) -> None:
        self.offsets[key] = self.position
        with self.target.errors():
            self.position += self.file.write(data)

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write what is left and the header; leaving the block puts the file in its place.

        Raises SettingError for metadata that no file can hold.
        """
        check_metadata(metadata)
        # Wide items first: each then starts at a multiple of its own item size.
        for key in sorted(self.unaligned, key=lambda k: -self.entries[k].dtype.itemsize):
            self._append(key, self.unaligned[key])
        header: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))}
        for key in sorted(self.offsets, key=self.offsets.__getitem__):
            info, start = self.entries[key], self.offsets[key]
            header[key] = {
                "dtype": DTYPE_NAMES[info.dtype],
                "shape": list(info.shape),
                "data_offsets": [start, start + info.bytes],
            }
        # Not ASCII: its escapes double Chinese text, and readers limit the header.
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > MOST_BYTES:
            raise FileError(
                f"its header would have {len(text)} bytes, and readers take {MOST_BYTES}",
                fix="leave metadata out",
                file=str(self.path),
            )
        with self.target.errors():
            if len(text) > self.header_bytes:
                self._make_room(len(text))
            self.file.seek(0)
            self.file.write(self.header_bytes.to_bytes(8, "little"))
            self.file.write(text.ljust(self.header_bytes))
            self.file.flush()
            self._read_again(metadata)
            self.target.complete()

    def _read_again(self, metadata: Mapping[str, str]) -> None:
        """Raises FileError where a reader would not find in the file what was put into it."""
        named = self.target.temporary or f"/proc/self/fd/{self.file.fileno()}"
        try:
            handle: Any = safe_open(str(named), framework="pt")
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

    def __enter__(self) -> "FileSink":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.target.close(keep=kind is None)
