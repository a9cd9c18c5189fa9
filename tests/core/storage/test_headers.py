"""What no reader takes is refused by name, and what is written was opened again before."""

import pytest
import torch
from safetensors import safe_open

from core import LoraError, Output, StateDict, blend, save, select
from core.storage import sinks
from core.storage.sinks import FileSink
from tests.helpers import files_in, lora


@pytest.mark.parametrize("key", ["__metadata__", "a\ud800b", "\udcff"], ids=ascii)
def test_names_that_no_file_can_hold_are_refused(tmp_path, key):
    with pytest.raises(LoraError, match="no name that a tensor"):
        save(lora("x") | {key: torch.ones(2)}, tmp_path / "o.safetensors")
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize(
    "metadata, told",
    [
        ({"a": "\ud800"}, "half of a character"),
        ({"\udc80": "a"}, "half of a character"),
        ({"a": 1}, "holds a int"),
        ({1: "a"}, "holds a int"),
        ({"a": None}, "holds a NoneType"),
        ([("a", "b")], "not a mapping"),
        ("text", "not a mapping"),
        (7, "not a mapping"),
    ],
    ids=ascii,
)
def test_metadata_that_no_file_can_hold_is_refused(tmp_path, metadata, told):
    with pytest.raises(LoraError, match=told):
        save(lora("x"), tmp_path / "o.safetensors", metadata=metadata)
    if not isinstance(metadata, dict):
        with pytest.raises(LoraError, match=told):
            StateDict(lora("x"), metadata)
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("edit", [select, lambda source, *how: blend(source, None, output=how[1])])
def test_half_characters_in_an_input_are_refused_by_edits(tmp_path, edit):
    source = StateDict(lora("x"), {"title": "\ud800"})
    with pytest.raises(LoraError, match="half of a character"):
        edit(source, "*", Output(tmp_path / "o.safetensors"))
    assert files_in(tmp_path) == set()


def test_text_is_written_as_utf_8(tmp_path):
    title, key = "\u4e2d\u6587\U0001f600 \u2028 \x1b", "\u5c42"
    path = save(lora("x") | {key: torch.ones(2)}, tmp_path / "o.safetensors", "match", {"a": title})
    assert title[:3].encode() in path.read_bytes()
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"a": title} and key in file.keys()  # noqa: SIM118


@pytest.mark.slow
def test_a_header_is_as_large_as_readers_take_and_no_larger(tmp_path):
    chinese = "\u4e2d" * 17_000_000  # 51 MB, of which ASCII escapes would make 102.
    path = save(lora("x"), tmp_path / "o.safetensors", "match", {"a": chinese})
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"a": chinese}
    with pytest.raises(LoraError, match="programs read no more than 100"):
        save(lora("x"), tmp_path / "o2.safetensors", "match", {"a": "x" * 100_000_000})
    assert files_in(tmp_path) == {"o.safetensors"}


@pytest.mark.parametrize("damage", ["dtype", "key"])
def test_what_cannot_be_opened_again_does_not_get_its_name(tmp_path, monkeypatch, damage):
    def dumps(header, **how):
        return '{"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'

    monkeypatch.setattr(sinks.json, "dumps", dumps)
    with (
        pytest.raises(LoraError, match="cannot be read again after it was written"),
        FileSink(tmp_path / "o.safetensors") as sink,
    ):
        sink.put("x" if damage == "dtype" else "y", torch.ones(2))
        sink.finish({})
    assert files_in(tmp_path) == set()
