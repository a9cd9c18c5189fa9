"""Reading lazily and writing in a stream, against the reference implementation of safetensors."""

import builtins
import errno
import json
import os
import re
import socket
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from core import Lora, LoraError, Output, select
from core.storage.files import StateDict, open_tensors
from core.storage.sinks import FileSink
from tests.helpers import files_in, lora_file, randn, same_bits
from tests.helpers import save as save_to

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


def every_kind_of_tensor() -> dict[str, torch.Tensor]:
    tensors = {f"matrix.{dtype}": (randn((3, 5)) * 4).to(dtype) for dtype in DTYPES}
    tensors |= {f"scalar.{dtype}": torch.tensor(1.5).to(dtype) for dtype in DTYPES}
    tensors |= {
        "empty": torch.zeros(0, 4),
        "empty.last": torch.zeros(4, 0, dtype=torch.float16),
        "one": torch.ones(1),
        "deep": randn((2, 1, 3, 1, 2, 1, 2)),
        "strided": randn((6, 4)).T,
        'name "quoted" \\ and\nbroken \u00e9\u4e2d': torch.ones(3),
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
    }
    return tensors


@pytest.fixture(params=["nameless", "named"])
def way(request, monkeypatch):
    """Both ways to write: into a file without a name, and into a hidden one beside the target."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no files without a name")
    return request.param


both_ways = pytest.mark.usefixtures("way")


def write(tensors, path, metadata=(), reserve=1 << 16):
    with FileSink(path, reserve) as sink:
        for key, tensor in tensors.items():
            sink.put(key, tensor)
        sink.finish(dict(metadata))


@pytest.mark.parametrize("reserve", [0, 1000, 1 << 16])
def test_what_is_written_reads_back_bit_for_bit(tmp_path, reserve):
    # reserve 0: the header does not fit in the place left for it and the data has to move.
    tensors = every_kind_of_tensor()
    metadata = {"key": 'a "value"\n\u00e9', "another": ""}
    write(tensors, tmp_path / "x.safetensors", metadata, reserve)
    reference = load_file(tmp_path / "x.safetensors")
    assert same_bits(reference, {k: t.detach().contiguous() for k, t in tensors.items()})
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == metadata
    assert files_in(tmp_path) == {"x.safetensors"}
    ours = open_tensors(tmp_path / "x.safetensors")
    assert same_bits({key: ours[key] for key in ours.info}, reference)


@both_ways
def test_large_data_moves_whole_when_the_header_needs_room(tmp_path):
    tensors = {f"t{i}": randn((700, 333), i) for i in range(4)}  # several blocks of the move
    write(tensors, tmp_path / "x.safetensors", reserve=8)
    assert same_bits(load_file(tmp_path / "x.safetensors"), tensors)


def test_every_tensor_starts_aligned_to_its_items(tmp_path):
    write(every_kind_of_tensor(), tmp_path / "x.safetensors")
    data = (tmp_path / "x.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__")
    ours = open_tensors(tmp_path / "x.safetensors")
    assert size % 8 == 0
    for key, entry in header.items():
        assert entry["data_offsets"][0] % ours.info[key].dtype.itemsize == 0, key


def test_a_state_dict_and_its_file_tell_the_same(tmp_path):
    tensors = lora_file(["a", "b"], alpha=2.0)
    path = save_to(tensors, tmp_path / "x.safetensors", {"k": "v"})
    one, other = open_tensors(StateDict(tensors, {"k": "v"})), open_tensors(path)
    assert one.info == other.info and one.metadata == other.metadata == {"k": "v"}
    assert one.sha256() is None and len(other.sha256()) == 64
    assert open_tensors(one) is one


def test_opening_a_huge_file_reads_its_header_only(tmp_path):
    # Eight gigabytes of holes: reading a tensor would be noticed.
    path, rows = tmp_path / "huge.safetensors", 1 << 20
    shapes = {"a.lora_B.weight": [rows, 1024], "a.lora_A.weight": [1024, rows]}
    header, position = {}, 0
    for key, shape in shapes.items():
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [position, position + 2**32]}
        position += 2**32
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + position)
    lora = Lora(path)
    assert lora.bytes == 2**33 and lora.modules["a"].rank == 1024


def header_of(entries, data=b"", size=None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(start, end, shape=(2, 2), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


A, B = "x.lora_A.weight", "x.lora_B.weight"
GOOD = save(lora_file(["x"]))
BROKEN = {
    "empty": b"",
    "shorter than its length": b"\x10",
    "text": b"hello, I am not a LoRA file at all",
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "a pickle": b"PK\x03\x04" + bytes(200),
    "header longer than the file": header_of({A: entry(0, 16)}, bytes(16), 10_000),
    "header of 16 exabytes": header_of({A: entry(0, 16)}, bytes(16), 2**64 - 1),
    "header is no json": header_of(b"{not json}"),
    "header is a list": header_of(b"[]"),
    "header is not utf-8": header_of(b'{"\xff\xfe": 1}'),
    "offsets past the end": header_of({A: entry(0, 16), B: entry(16, 64, (3, 4))}, bytes(20)),
    "offsets overlap": header_of({A: entry(0, 16), B: entry(8, 24)}, bytes(24)),
    "offsets leave a hole": header_of({A: entry(0, 16), B: entry(24, 40)}, bytes(40)),
    "offsets run backwards": header_of({A: entry(16, 0)}, bytes(16)),
    "offsets are negative": header_of({A: entry(-16, 0)}, bytes(16)),
    "shape does not fit the offsets": header_of({A: entry(0, 16, (4, 4))}, bytes(16)),
    "shape overflows": header_of({A: entry(0, 16, (2**40, 2**40))}, bytes(16)),
    "dtype unknown": header_of({A: entry(0, 16, dtype="F33")}, bytes(16)),
    "dtype not supported": header_of({A: entry(0, 16, (2,), "C64")}, bytes(16)),
    "data after the end": GOOD + bytes(8),
    **{f"cut after {n}": GOOD[:n] for n in (7, 8, 9, 100, len(GOOD) - 1)},
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_not_safetensors_is_refused_by_name(tmp_path, content):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(LoraError, match=r"broken\.safetensors"):
        Lora(path)


@pytest.mark.parametrize("ending", [".pt", ".ckpt", ".pth", ".bin", ".PT"])
def test_a_pickle_is_refused_with_the_way_to_convert(tmp_path, ending):
    path = tmp_path / f"lora{ending}"
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(LoraError, match=r"lora.*pickle.*weights_only=True"):
        Lora(path)


@pytest.mark.parametrize("name", ["a\0b.safetensors", "n" * 300])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    for use in (Lora, lambda path: write({"a": torch.ones(1)}, path)):
        with pytest.raises(LoraError):
            use(tmp_path / name)
    assert files_in(tmp_path) == set()


def test_metadata_of_a_state_dict_becomes_text():
    state_dict = StateDict(lora_file(["a"]))
    state_dict.metadata = {"epochs": 3, "name": "x"}
    assert open_tensors(state_dict).metadata == {"epochs": "3", "name": "x"}
    state_dict.metadata = None
    assert open_tensors(state_dict).metadata == {}


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(LoraError, match=r"gone\.safetensors: no such file"):
        Lora(tmp_path / "gone.safetensors")
    with pytest.raises(LoraError, match="is a folder"):
        Lora(tmp_path)


@pytest.mark.parametrize(
    "source", [None, 7, [1], {1: torch.ones(1)}, {"a": 1}, {"a": None}], ids=str
)
def test_what_is_no_state_dict_is_refused(source):
    with pytest.raises(LoraError, match=r"expected a path or a state dict|not a tensor"):
        open_tensors(source)


def test_a_tensor_is_written_once(tmp_path):
    with pytest.raises(LoraError, match="tensor a: would be written twice"):
        write_twice(tmp_path / "x.safetensors")
    assert files_in(tmp_path) == set()


def write_twice(path):
    with FileSink(path) as sink:
        sink.put("a", torch.ones(2))
        sink.put("a", torch.ones(2))


def test_a_dtype_that_cannot_be_written_is_refused_by_name(tmp_path):
    with pytest.raises(LoraError, match=r"x\.safetensors: tensor odd: is torch\.complex64"):
        write({"odd": torch.ones(2, dtype=torch.complex64)}, tmp_path / "x.safetensors")
    assert files_in(tmp_path) == set()


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, way):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), FileSink(path) as sink:
        sink.put("a", torch.ones(1000))
        assert len(files_in(tmp_path)) == (1 if way == "nameless" else 2)
        raise RuntimeError
    assert path.read_bytes() == b"old" and files_in(tmp_path) == {"x.safetensors"}


@both_ways
def test_without_finish_nothing_is_written(tmp_path):
    with FileSink(tmp_path / "x.safetensors") as sink:
        sink.put("a", torch.ones(1000))
    assert files_in(tmp_path) == set()


class FullDisk:
    """Wraps the opened file; after `room` bytes every write fails as on a full disk."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


@both_ways
@pytest.mark.parametrize("room", [0, 3000, 4000, 5000])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, room):
    # 4000 bytes of factors, then 4 of an alpha, then the header: it fails in each of them.
    opened = builtins.open
    monkeypatch.setattr(
        "core.storage.atomic.open", lambda *a, **k: FullDisk(opened(*a, **k), room), raising=False
    )
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.ones(1000), "alpha": torch.tensor(1.0), "c": torch.ones(4)}
    with pytest.raises(LoraError, match=r"x\.safetensors: cannot be written.*free some disk space"):
        write(tensors, path)
    assert files_in(tmp_path) == set()


@both_ways
def test_a_disk_that_is_full_only_when_flushed_leaves_the_old_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("core.storage.atomic.os.fsync", full)
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"an older file")
    with pytest.raises(LoraError, match="free some disk space"):
        write({"a": torch.ones(4)}, path)
    assert files_in(tmp_path) == {"x.safetensors"}
    assert path.read_bytes() == b"an older file"


@pytest.mark.parametrize("place", ["missing/x.safetensors", "folder", "file/x.safetensors"])
def test_a_place_that_cannot_hold_the_file_is_refused_by_name(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LoraError, match=re.escape(str(Path(place)))):
        FileSink(tmp_path / place)
    assert files_in(tmp_path) == {"file"}


@both_ways
def test_links_are_followed_and_stay(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.safetensors"
    link.symlink_to(tmp_path / "real" / "x.safetensors")
    for content in (torch.ones(2), torch.zeros(3)):
        write({"a": content}, link)
        assert link.is_symlink() and files_in(tmp_path / "real") == {"x.safetensors"}
        assert torch.equal(load_file(link)["a"], content)


def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(tmp_path, way, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "x.safetensors").write_bytes(b"old")
    monkeypatch.setattr("core.storage.atomic.os.replace", refused)
    with pytest.raises(LoraError, match=r"x\.safetensors: cannot be written"):
        write({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").read_bytes() == b"old"
    assert files_in(tmp_path) == {"x.safetensors"}


@both_ways
@pytest.mark.skipif(os.name == "nt", reason="this system has other permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_file_gets_the_usual_permissions(tmp_path, mask):
    old = os.umask(mask)
    try:
        write({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    finally:
        os.umask(old)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("place", ["pipe", "socket", "loop", "folder/", "new/", "n" * 300])
def test_only_a_file_is_replaced(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    save_to(lora_file(["a"]), "in.safetensors")
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    os.mkdir("folder")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        before = {path: path.lstat().st_mode for path in tmp_path.iterdir()}
        with pytest.raises(LoraError, match=place):
            FileSink(place)  # At once, not after everything was computed.
        with pytest.raises(LoraError, match=place):
            select("in.safetensors", "*", Output(place))
        assert {path: path.lstat().st_mode for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    end = os.open(tmp_path / "pipe.safetensors", os.O_RDWR)  # Nobody hangs if it is opened.
    with pytest.raises(LoraError, match=r"pipe\.safetensors: is a device or a pipe"):
        Lora(tmp_path / "pipe.safetensors")
    os.close(end)


@pytest.mark.parametrize("error", [MemoryError("x"), RuntimeError("unable to mmap 8 bytes")])
def test_a_file_that_cannot_be_mapped_is_named(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    path = save_to(lora_file(["a"]), tmp_path / "in.safetensors")
    monkeypatch.setattr("core.storage.files.safe_open", fail)
    with pytest.raises(LoraError, match=r"in\.safetensors: cannot be mapped into memory"):
        Lora(path)
