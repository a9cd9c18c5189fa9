"""Select: the kept and the rest together are the original, to the bit."""

import pytest

from core import LoraError, Output, select
from core.storage.files import open_tensors
from tests.helpers import (
    KOHYA,
    PAIRS,
    PEFT,
    dense,
    error,
    everything,
    files_in,
    flux_dense,
    flux_file,
    lora_file,
    same_bits,
    save,
)

NAMES = ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers",
    ["blocks.0", "*.attn", "-blocks.1", "blocks.2, unknown.table", "*.bias", "-unknown*, -*.mlp"],
)
@pytest.mark.parametrize("pair", [PEFT, KOHYA, PAIRS[4]], ids=str)
def test_kept_and_rest_are_the_original(tmp_path, pair, layers):
    tensors = everything(pair)
    path = save(tensors, tmp_path / "in.safetensors", {"title": "x"})
    kept, rest = select(path, layers, Output(tmp_path / "kept"), Output(tmp_path / "rest"))
    parts = []
    for edited in (kept, rest):
        opened = open_tensors(edited.lora)
        parts.append({key: opened[key] for key in opened.info})
        assert opened.metadata["title"] == "x"
    assert not set(parts[0]) & set(parts[1])
    if layers == "*.bias":
        # ComfyUI does not read b_norm without the w_norm that is now in the other part.
        tensors["blocks.1.norm.diff_b"] = tensors.pop("blocks.1.norm.b_norm")
    assert same_bits(parts[0] | parts[1], tensors)
    # Every tensor that is not in one part is named in its report.
    modules = {row.module for row in kept.report.kept}
    assert modules == {n for n in rest.report.dropped if "unknown" not in n}
    assert all(reason == "not selected" for reason in rest.report.dropped.values())
    assert all(row.action == "copied" for row in kept.report.kept)


def test_the_parts_add_up():
    tensors = {key: t for key, t in everything().items() if "dora" not in key}
    kept, rest = select(tensors, "*.attn", rest=Output())
    one, other, whole = dense(kept.lora), dense(rest.lora), dense(tensors)
    assert one.keys() | other.keys() == whole.keys() and not one.keys() & other.keys()
    assert all(error((one | other)[name], whole[name]) == 0 for name in whole)


def test_only_what_is_asked_for_is_made(tmp_path):
    kept, rest = select(everything(), "blocks.0", Output(tmp_path / "kept"))
    assert rest is None and files_in(tmp_path) == {"kept"}
    assert {row.module for row in kept.report.modules} == set(NAMES[:2])


def test_weights_and_biases_of_a_module_can_be_parted():
    kept, rest = select(everything(), "blocks.1.attn.bias", rest=Output())
    assert set(kept.lora) == {"blocks.1.attn.diff_b"}
    assert "blocks.1.attn.lora_A.weight" in rest.lora


@pytest.mark.parametrize("spelling", ["kohya", "generic", "diffusers"])
def test_parts_in_another_spelling_add_up_too(spelling):
    tensors = flux_file("kohya")
    output = Output(spelling=spelling)
    kept, rest = select(tensors, "single_blocks", output, output)
    assert not kept.lora.keys() & rest.lora.keys()
    found, exact = flux_dense(kept.lora | rest.lora), flux_dense(tensors)
    assert all(error(found[name], exact[name]) < 1e-6 for name in exact)


@pytest.mark.parametrize(
    "layers, message",
    [
        ("blocks.9", "'blocks.9' matches no layer"),
        ("unknown*", "leaves no module"),
        ("*", "no rest to write"),
        ("", "no rest to write"),
    ],
)
def test_an_empty_part_is_refused_before_anything_is_written(tmp_path, layers, message):
    with pytest.raises(LoraError, match=message):
        select(everything(), layers, Output(tmp_path / "kept"), Output(tmp_path / "rest"))
    assert files_in(tmp_path) == set()


def test_both_parts_in_one_file_are_refused(tmp_path):
    for name in ("one", "./one", "../" + tmp_path.name + "/one"):
        with pytest.raises(LoraError, match="one"):
            select(everything(), "blocks.0", Output(tmp_path / "one"), Output(tmp_path / name))
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("place", ["in.safetensors", "missing/rest"])
def test_a_rest_that_cannot_be_written_leaves_no_kept_either(tmp_path, place):
    path = save(everything(), tmp_path / "in.safetensors")
    with pytest.raises(LoraError):
        select(path, "blocks.0", Output(tmp_path / "kept"), Output(tmp_path / place))
    assert files_in(tmp_path) == {"in.safetensors"}


@pytest.mark.parametrize("old", [None, b"old"], ids=["new", "over old files"])
@pytest.mark.parametrize("damaged", ["blocks.0.attn", "blocks.1.attn"])
def test_damage_in_either_part_leaves_neither_file(tmp_path, damaged, old):
    tensors = lora_file(NAMES)
    tensors[damaged + ".lora_A.weight"][0, 0] = float("nan")
    path = save(tensors, tmp_path / "in.safetensors")
    outputs = [tmp_path / "kept.safetensors", tmp_path / "rest.safetensors"]
    for out in outputs if old else ():
        out.write_bytes(old)
    with pytest.raises(LoraError, match=rf"{damaged}\.lora_A\.weight.*NaN"):
        select(path, "blocks.0", Output(outputs[0]), Output(outputs[1]))
    assert [out.read_bytes() if out.exists() else None for out in outputs] == [old, old]
    assert len(files_in(tmp_path)) == (3 if old else 1)
