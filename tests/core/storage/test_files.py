"""Reading lazily: headers only, whatever is in them, and files that are none.

Also of lazy.py: what is made when it is asked for.
"""

import hashlib
import json
import os
import struct
import time

import pytest
import torch
from safetensors.torch import save

from core import LazyTensors, Lora, LoraError
from core.storage.files import StateDict, open_tensors
from tests.core.storage.written import write
from tests.helpers import files_in, lora_file
from tests.helpers import save as save_to

SHA256 = hashlib.sha256


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


def test_a_hash_is_computed_once_and_anew_for_other_content(tmp_path, monkeypatch):
    path, computed = tmp_path / "x.safetensors", []
    monkeypatch.setattr(hashlib, "sha256", lambda: computed.append(1) or SHA256())

    def times(seed=None) -> int:
        """How often the hash is computed when it is asked for; it is right in any case."""
        if seed is not None:
            time.sleep(0.02)  # so that the system's clock, by which changes are told, goes on
            save_to(lora_file(["x"], seed=seed), path)
            os.utime(path, ns=(10**18, 10**18))  # of the same size and time as any other
        computed.clear()
        assert open_tensors(path).sha256() == SHA256(path.read_bytes()).hexdigest()
        return len(computed)

    assert [times(1), times(), times(2)] == [1, 1, 1]  # It may still be changing.
    monkeypatch.setattr("core.storage.files.SETTLED", -1)
    assert [times(), times(), times(3), times(), times(4)] == [1, 0, 1, 0, 1]


def test_what_is_made_is_made_once_asked_for():
    asked = []
    like = {"x": torch.empty(4, 2, dtype=torch.bfloat16, device="meta")}
    lazy = LazyTensors("mine", like, lambda key: asked.append(key) or torch.ones(4, 2))
    assert lazy.info["x"] == ("bfloat16", (4, 2)) and lazy.name == "mine" and not asked
    assert torch.equal(lazy["x"], torch.ones(4, 2)) and asked == ["x"]
