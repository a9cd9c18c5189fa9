"""Save: what is written is what was there, in another dtype where one is asked for."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from core import Cancelled, Compute, FileError, LoraError, StateDict, save
from tests.helpers import KOHYA, files_in, lora, randn, same_bits

OTHER = {"table": torch.arange(3), "x.diff_b": randn((16,))}
TENSORS = StateDict(
    lora("x", pair=KOHYA, alpha=2.0) | OTHER, {"title": "t", "sshs_model_hash": "abc"}
)


def metadata_of(path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def test_everything_is_written_to_the_bit_with_its_metadata(tmp_path):
    path = save(TENSORS, tmp_path / "x.safetensors")
    assert path == (tmp_path / "x.safetensors").resolve()
    assert same_bits(load_file(path), TENSORS) and metadata_of(path) == TENSORS.metadata
    again = save(path, tmp_path / "again.safetensors")
    assert same_bits(load_file(again), TENSORS) and metadata_of(again) == TENSORS.metadata


@pytest.mark.parametrize("name, dtype", [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_another_dtype_is_that_of_factors_only_and_hashes_are_new(tmp_path, name, dtype):
    path = save(TENSORS, tmp_path / "x.safetensors", name)
    written = load_file(path)
    for key in ("x.lora_up.weight", "x.lora_down.weight", "x.diff_b"):
        assert torch.equal(written[key], TENSORS[key].to(dtype))
    for key in ("x.alpha", "table"):
        assert same_bits({key: written[key]}, {key: TENSORS[key]})
    found = metadata_of(path)
    assert found["title"] == "t" and found["sshs_model_hash"] not in ("", "abc")


def test_a_dtype_that_it_has_already_changes_nothing(tmp_path):
    path = save(TENSORS, tmp_path / "x.safetensors", "fp32")
    assert same_bits(load_file(path), TENSORS) and metadata_of(path) == TENSORS.metadata


def test_metadata_that_are_given_take_the_place_of_the_old(tmp_path):
    path = save(TENSORS, tmp_path / "x.safetensors", metadata={"mine": "1"})
    assert metadata_of(path) == {"mine": "1"}


def test_what_cannot_be_saved_leaves_nothing(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(LoraError):
        save({"table": torch.ones(2)}, path)
    with pytest.raises(LoraError, match="too large for float16"):
        save({"x.diff": torch.full((2, 2), 1e6)}, path, "fp16")
    with pytest.raises(Cancelled):
        save(TENSORS, path, compute=Compute(cancelled=lambda: True))
    with pytest.raises(FileError, match="does not exist"):
        save(TENSORS, tmp_path / "missing" / "x.safetensors")
    assert files_in(tmp_path) == set()
