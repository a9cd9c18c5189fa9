"""Writing in a stream, against the reference implementation of safetensors."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from core import LoraError
from core.storage.files import open_tensors
from core.storage.sinks import FileSink, header_bound
from tests.core.storage.written import write
from tests.helpers import files_in, randn, same_bits

both_ways = pytest.mark.usefixtures("way")

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


@pytest.mark.parametrize("text", ["a", "\u4e2d", "\U0001f600", '"', "\n", "\x7f"], ids=ascii)
def test_the_room_for_a_header_is_enough_and_not_much_more(tmp_path, text):
    keys = [text * 500 + str(i) for i in range(20)]
    needed = header_bound(keys, 0)
    write({key: torch.ones(2) for key in keys}, tmp_path / "x", reserve=needed)
    with open(tmp_path / "x", "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        used = len(file.read(size).rstrip(b" "))
    assert used <= needed + 7 == pytest.approx(size, abs=8) and needed < 1.1 * used + 3000
