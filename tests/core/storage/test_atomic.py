"""A file is whole or not there: full disks, errors, links, folders, permissions."""

import builtins
import errno
import os
import re
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core import LoraError, Output, select
from core.storage.sinks import FileSink
from tests.core.storage.written import write
from tests.helpers import files_in, lora_file
from tests.helpers import save as save_to

both_ways = pytest.mark.usefixtures("way")


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
