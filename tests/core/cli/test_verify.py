"""--verify: a written file is read again, and the status says whether it is what it should be."""

import json

import pytest
import torch
from safetensors.torch import load_file

import core.cli.computing as computing
from core import Blend, LoraError, Output, blend, select
from core.edits.verify import check
from tests.core.cli.test_edits import ALL, cli
from tests.helpers import everything, files_in, flux_file, lora_file, save
from tests.marks import one_in

NAMES = ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save(lora_file(NAMES, seed=1), tmp_path / "a.safetensors")
    save(lora_file(NAMES, seed=2), tmp_path / "b.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = [
    *ALL,
    "resize F --rank 2",
    "select F --layers blocks.0 --rest R.safetensors",
    "top-blocks F --threshold 0.5 --rest R.safetensors",
    "blend F B --weights 0.5 -0.7 --rank 3",
    "blend F B --rank full --layers -*mlp",
    "blend F B --rank full --block-weights *.mlp:2,0",
    "blend F F --weights 1 -1 --rank full --keep-zero",
]


@pytest.mark.parametrize("dtype", one_in(3, ["fp32", "fp16", "bf16"]))
@pytest.mark.parametrize("command", COMMANDS)
def test_a_written_file_is_verified(folder, capsys, command, dtype):
    save(lora_file(NAMES, seed=5), folder / "F")
    assert cli(f"{command} --dtype {dtype} -o O --force --verify") == 0
    assert "verified: read again, relative error" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("spelling", one_in(3, ["kohya", "diffusers", "generic"]))
@pytest.mark.parametrize("command", ["convert F", "resize F --rank 2", "blend F F --rank full"])
def test_files_in_another_spelling_are_verified(folder, command, spelling):
    for source in ("kohya", "diffusers"):
        save(flux_file(source), folder / "F")
        assert cli(f"{command} --spelling {spelling} -o O --force --verify") == 0


def test_the_report_for_machines_says_what_was_measured(folder, capsys):
    assert cli("resize A --rank 2 --dtype bf16 -o O --force --verify --json") == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any(note.startswith("verified:") for note in notes)


def changed(key, change):
    def damage(edited, *rest):
        tensors = load_file(edited.lora)
        tensors[key] = change(tensors[key])
        save(tensors, edited.lora)
        return check(edited, *rest)

    return damage


def without(words):
    def damage(edited, *rest):
        tensors = {key: t for key, t in load_file(edited.lora).items() if words not in key}
        save(tensors, edited.lora)
        return check(edited, *rest)

    return damage


def with_more(edited, *rest):
    save(load_file(edited.lora) | lora_file(["spurious"]), edited.lora)
    return check(edited, *rest)


DAMAGE = {
    "module blocks.0.mlp: was written with a relative error": changed(
        "blocks.0.mlp.lora_A.weight", lambda t: t * 1.2
    ),
    "module blocks.1.attn: was not written": without("blocks.1.attn"),
    "module spurious: was written and should not be": with_more,
    "tensor odd: was not written as it is in": changed("odd", lambda t: t + 1),
}


@pytest.mark.parametrize("problem", DAMAGE)
@pytest.mark.parametrize("command", ["select F --layers *", "resize F --rank 3", "convert F"])
def test_a_file_that_says_something_else_has_status_1(
    folder,
    monkeypatch,
    capsys,
    command,
    problem,
):
    save(lora_file(NAMES) | {"odd": torch.ones(3)}, folder / "F")
    monkeypatch.setattr(computing, "check", DAMAGE[problem])
    assert cli(f"{command} -o O --force --verify") == 1
    assert f"o.safetensors: {problem}" in capsys.readouterr().err


def test_numbers_that_fp16_cannot_hold_are_reported(folder, capsys):
    faint = {key: t * 1e-4 for key, t in lora_file(["x"]).items()}
    save({key: t * 1e-4 for key, t in faint.items()} | lora_file(["y"]), folder / "F")
    assert cli("convert F --dtype fp16 -o O --force --verify") == 0
    assert "1 modules hold numbers too small for the format" in capsys.readouterr().out
    assert cli("convert F --dtype bf16 -o O --force --verify") == 0
    assert "too small" not in capsys.readouterr().out


def test_every_kind_of_module_is_verified_or_said_not_to_be(tmp_path):
    path = save(everything(), tmp_path / "in.safetensors")
    edited, _ = select(path, "*", Output(tmp_path / "out.safetensors"))
    assert any("not measured" in note for note in check(edited, [path]).notes)
    assert files_in(tmp_path) == {"in.safetensors", "out.safetensors"}


def test_a_blend_in_memory_can_be_checked_too():
    first, second = lora_file("ab"), lora_file("bc", seed=1)
    edited = blend(first, second, Blend((2.0, -1.0), "full"))
    assert check(edited, [first, second], (2.0, -1.0)).relative_error < 1e-6
    with pytest.raises(LoraError, match=r"module .: was written with a relative error"):
        check(edited, [first, second], (2.0, 1.0))


def test_weights_that_depend_on_the_layer_cannot_be_verified(folder, capsys):
    with pytest.raises(SystemExit):
        cli("blend A B --balance softmax -o O --force --verify")
    assert "--verify" in capsys.readouterr().err
