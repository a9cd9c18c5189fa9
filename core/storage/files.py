"""Lazy reading of safetensors files, and state dicts that are read alike.

Reading opens the header only, and what is not asked for is never read. Tensors are read, not
mapped: a map of a file that another program cuts ends the process (SIGBUS), in a graph the server.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..deferred import Tensor, torch
from ..errors import FileError, SettingError, located
from .dtypes import CODES, STORED_DTYPES, TensorInfo, number_of
from .headers import State, checked, header_of, state_of

# Torch computes with no more.
MOST_DIMENSIONS = 64
# Read at once: a system call takes no more than 2 GB.
PIECE = 1 << 26
# Nanoseconds after which a change has another time than the last one, on any file system.
SETTLED = 3_000_000_000
PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl"}


class Tensors:
    """A read-only mapping of tensors with metadata: a file or an in-memory state dict.

    `name` is what messages call it, `path` its real path or None. `info` knows dtype and shape
    without reading the tensor.
    """

    def __init__(
        self, name: str, path: Path | None, info: dict[str, TensorInfo], metadata: dict[str, str]
    ) -> None:
        self.name = name
        self.path = path
        self.info = info
        self.metadata = metadata

    def __getitem__(self, key: str) -> Tensor:
        raise KeyError(key)

    def number(self, key: str) -> float | None:
        """The number in a tensor of one element; None for others."""
        return float(self[key].float()) if prod(self.info[key].shape) == 1 else None

    def sha256(self) -> str | None:
        """The hash of the file's bytes; None for a state dict, which has no file."""
        return None

    def check_unchanged(self) -> None:
        """Raises FileError when the file is not the one that was opened any more.

        What was read of it then may be a mixture of the old and the new.
        """


class FileTensors(Tensors):
    """A safetensors file. Raises FileError for anything that is not one."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = Path(path)
        with located(file=str(given)):
            self._open(given)

    def _open(self, given: Path) -> None:
        self.starts: dict[str, int] = {}
        if given.suffix.lower() in PICKLES:
            raise FileError(
                "pickle files (.pt, .ckpt, ...) can run code when opened and are not read",
                fix="convert it first, in an environment you trust: read it with torch.load and "
                "weights_only=True, write it with safetensors.torch.save_file",
            )
        try:
            self.state = state_of(os.stat(given))
            mode = os.stat(given).st_mode
        except FileNotFoundError as error:
            raise FileError("no such file", fix="check the path") from error
        except (OSError, ValueError) as error:
            raise FileError(f"cannot be opened ({error})", fix="check the path") from error
        if stat.S_ISDIR(mode):
            raise FileError("is a folder", fix="give the path of a .safetensors file in it")
        if not stat.S_ISREG(mode):  # Opening a pipe would wait for somebody to write into it.
            raise FileError("is a device or a pipe", fix="save what it holds as a file first")
        try:
            header = header_of(given)
            with checked(given, header, self.state.size) as path:
                handle: Any = safe_open(path, framework="np")
            entries = json.loads(header[8:])
            metadata = dict(handle.metadata() or {})
            info = {}
            for key in handle.keys():  # noqa: SIM118 - not a mapping
                tensor = handle.get_slice(key)
                dtype = STORED_DTYPES.get(tensor.get_dtype())
                if dtype is None:
                    raise FileError(
                        f"has dtype {tensor.get_dtype()}, which is not supported",
                        fix="save it as F32, F16 or BF16",
                        tensor=key,
                    )
                shape = tuple(tensor.get_shape())
                # Where one dimension is 0, the others are limited by nothing in the file.
                empty = 0 in shape and prod(n or 1 for n in shape) >= 2**62
                if len(shape) > MOST_DIMENSIONS or empty:
                    raise FileError(
                        f"has {len(shape)} dimensions of up to {max(shape)}, more than any weight",
                        fix="the file is damaged: download or save it again",
                        tensor=key,
                    )
                info[key] = TensorInfo(dtype, shape)
                self.starts[key] = len(header) + entries[key]["data_offsets"][0]
        except (FileNotFoundError, PermissionError) as error:
            # The file is there: this is what safetensors says of one that may not be read.
            raise FileError("cannot be opened", fix="check its permissions") from error
        except (RuntimeError, MemoryError) as error:
            problem = f"cannot be mapped into memory ({error})"
            raise FileError(problem, fix="close other programs and files") from error
        except FileError:
            raise
        except (SafetensorError, OSError, ValueError, OverflowError) as error:
            problem = f"not a readable safetensors file ({error})"
            raise FileError(problem, fix="download or save it again") from error
        super().__init__(given.name, given.resolve(), info, metadata)

    def in_order(self) -> list[str]:
        """The keys in the order in which their data lie in the file."""
        ends = {key: start + self.info[key].bytes for key, start in self.starts.items()}
        return sorted(self.info, key=lambda key: (self.starts[key], ends[key]))

    def __getitem__(self, key: str) -> Tensor:
        assert self.path is not None
        info = self.info[key]
        try:
            data = torch.empty(info.bytes, dtype=torch.uint8)
        except RuntimeError as error:
            problem, fix = "does not fit into the free memory", "close other programs"
            raise FileError(problem, fix=fix, file=str(self.path), tensor=key) from error
        self._fill(data.numpy().data, key)
        return data.view(info.dtype).reshape(info.shape)

    def number(self, key: str) -> float | None:
        info = self.info[key]
        if prod(info.shape) != 1 or info.dtype_name not in CODES:
            return super().number(key)
        # Without torch: alphas are all that is read of a file in order to describe it.
        data = bytearray(info.bytes)
        self._fill(memoryview(data), key)
        return number_of(data, info.dtype_name)

    def _fill(self, rest: memoryview, key: str) -> None:
        """Read the bytes of a tensor into a buffer of their size."""
        assert self.path is not None
        # Opened anew: the numbers come from the very file whose state is compared.
        with self._readable(), open(self.path, "rb", buffering=0) as file:
            self._compare(os.fstat(file.fileno()))
            file.seek(self.starts[key])
            while rest and (size := file.readinto(rest[:PIECE])):
                rest = rest[size:]
            if rest:
                raise self._changed()

    def check_unchanged(self) -> None:
        assert self.path is not None
        with self._readable():
            self._compare(os.stat(self.path))

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Inside, an error of the system is a FileError."""
        try:
            yield
        except OSError as error:
            raise FileError(
                f"cannot be read any more ({error.strerror})",
                fix="check that it is still there, and run again",
                file=str(self.path),
            ) from error

    def _compare(self, found: os.stat_result) -> None:
        if state_of(found) != self.state:
            raise self._changed()

    def _changed(self) -> FileError:
        problem, fix = "was changed while it was read", "run again when nothing writes to it"
        return FileError(problem, fix=fix, file=str(self.path))

    def sha256(self) -> str:
        return self._sha256()

    def data_sha256(self) -> str:
        """The hash of what stands after the header: of the tensors, as they lie there."""
        return self._sha256(after_header=True)

    def _sha256(self, after_header: bool = False) -> str:
        assert self.path is not None
        self.check_unchanged()
        try:
            found = os.stat(self.path)
            # A file of a moment ago may change again without a new time.
            settled = time.time_ns() - found.st_ctime_ns > SETTLED
            digest = _digest if settled else _digest.__wrapped__
            return digest(self.path, found.st_ctime_ns, self.state, after_header)
        except OSError as error:
            raise FileError(
                f"cannot be read to the end ({error.strerror})",
                fix="check the disk, and run again",
                file=str(self.path),
            ) from error


@lru_cache(512)
def _digest(path: Path, changed: int, state: State, after_header: bool) -> str:
    """The SHA-256 of a file; `changed` and `state` tell one content of the path from the next."""
    # Large blocks: hashlib and other threads hand the interpreter over once a block.
    digest, block = hashlib.sha256(), memoryview(bytearray(1 << 20))
    with open(path, "rb") as file:
        if after_header:
            file.seek(8 + int.from_bytes(file.read(8), "little"))
        while size := file.readinto(block):
            digest.update(block[:size])
    return digest.hexdigest()


class DictTensors(Tensors):
    """A state dict, such as ComfyUI's LORA_MODEL; a `metadata` attribute is used.

    Raises SettingError for what is no plain tensor of real numbers.
    """

    def __init__(self, state_dict: Mapping[str, Tensor], name: str | None = None) -> None:
        info = {}
        for key, tensor in state_dict.items():
            if not isinstance(key, str) or not isinstance(tensor, Tensor):
                raise SettingError(
                    f"state dict entry {key!r} is a {type(tensor).__name__}, not a tensor",
                    fix="pass a dict of name -> torch.Tensor",
                )
            if problem := _unusual(tensor):
                raise SettingError(f"is {problem}", fix="pass plain numbers", tensor=key)
            info[key] = TensorInfo.of(tensor)
        metadata = getattr(state_dict, "metadata", None)
        items = metadata.items() if isinstance(metadata, Mapping) else ()
        # A file can only hold text there; other people's dicts hold anything.
        texts = {str(key): str(value) for key, value in items}
        super().__init__(
            name or getattr(state_dict, "name", None) or "state dict", None, info, texts
        )
        self.state_dict = state_dict

    def __getitem__(self, key: str) -> Tensor:
        return self.state_dict[key]


def _unusual(tensor: Tensor) -> str:
    """What a tensor is that nothing here computes with or writes; an empty text for usual ones."""
    if tensor.is_meta:
        return "on the meta device, without numbers"
    if tensor.is_nested:
        return "nested"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantised"
    return "complex" if tensor.is_complex() else ""


Stored = str | os.PathLike[str] | Mapping[str, Tensor] | Tensors


def open_tensors(source: Stored) -> Tensors:
    """A path or a state dict as lazy tensors. Raises SettingError for what is neither."""
    if isinstance(source, Tensors):
        return source
    if isinstance(source, str | os.PathLike):
        return FileTensors(source)
    if isinstance(source, Mapping):
        return DictTensors(source)
    raise SettingError(
        f"expected a path or a state dict, got {type(source).__name__}",
        fix="give the path of a .safetensors file",
    )


class StateDict(dict[str, Tensor]):
    """A state dict that carries the file's metadata and name along.

    A dict of key -> tensor: `tensors` as they are, of any shape and dtype. `metadata` are the texts
    that a file has beside them, `name` is what messages call it (None: "state dict").
    Raises SettingError for metadata that is no mapping.

    >>> style, _ = core.samples()
    >>> lora = core.StateDict(core.load(style), {"title": "mine"}, "my LoRA")
    >>> core.convert(lora, core.Output()).lora.metadata["title"]
    'mine'
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor] | None = None,
        metadata: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(tensors or {})
        if metadata is not None and not isinstance(metadata, Mapping):
            raise SettingError(
                f"metadata is a {type(metadata).__name__}, not a mapping",
                fix="give a dict of text -> text",
            )
        self.metadata = dict(metadata or {})
        self.name = name

    def __repr__(self) -> str:
        """In a line: programs put what they work on into their messages, ComfyUI each input."""
        return f"<LoRA {self.name or 'state dict'}: {len(self)} tensors>"


def load(path: str | os.PathLike[str], name: str | None = None) -> StateDict:
    """A file as a state dict with its metadata, read into memory.

    `path` is that of a safetensors file. `name` is what messages are to call it. Every edit and
    analysis takes a path, too; load where the tensors themselves are wanted. Raises FileError for
    what is no safetensors file.

    >>> style, _ = core.samples()
    >>> lora = core.load(style)
    >>> lora["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"].shape
    torch.Size([8, 64])
    """
    tensors = FileTensors(path)
    return StateDict(
        {key: tensors[key] for key in tensors.info}, tensors.metadata, name or tensors.name
    )
