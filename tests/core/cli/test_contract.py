"""What scripts depend on never changes: commands, options, defaults, choices, and the keys of JSON.

`contract.json` beside this file pins them; CONTRIBUTING.md says how each may change. What a test
prints when it fails is what the file has to say after something was appended.
"""

import argparse
import json
from pathlib import Path

import pytest
import torch

from core.cli.catalogue import parsers
from core.cli.front import front_parser
from core.cli.main import main
from tests.helpers import KOHYA, flux_file, lora, save

CONTRACT = json.loads((Path(__file__).parents[1] / "contract.json").read_text("ascii"))


def option(action: argparse.Action) -> dict:
    """What a script can write for an option or argument, and what it gets when it does not."""
    kind = getattr(action.type, "__name__", "str" if action.nargs != 0 else "flag")
    found = {
        "names": action.option_strings or [action.dest],
        "type": kind.strip("_"),
        "number": action.nargs,
        "default": action.default,
        "choices": list(action.choices) if action.choices else None,
        "required": action.required,
    }
    return {key: value for key, value in found.items() if value is not None and value is not False}


def commands() -> dict[str, argparse.ArgumentParser]:
    return dict(parsers())


def test_commands_and_options_are_those_of_the_contract():
    found = options()
    assert found == CONTRACT["options"], json.dumps(found, indent=1)


def options() -> dict[str, list]:
    """Those of every command; what all of them have is listed once, under `everywhere`."""
    front = {a.dest for a in front_parser()._actions}
    found = {
        command: [option(a) for a in parser._actions if a.dest not in front]
        for command, parser in parsers()
    }
    return {"everywhere": [option(a) for a in front_parser()._actions if a.option_strings]} | found


# Objects whose keys are names of tensors, modules or other people's metadata.
NAMED = {"carried", "dropped", "other_tensors", "left_out", "metadata", "not_measured"}


def keys(value, name=""):
    """The shape of a JSON value: keys of objects and types; lists by their first entry."""
    if isinstance(value, dict):
        if name in NAMED:
            return {"*": "str"}
        return {key: keys(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [keys(value[0])] if value else []
    return type(value).__name__


JSON_COMMANDS = {
    "info": "info A",
    "analyze": "analyze A",
    "top-blocks": "top-blocks A -o O.safetensors --force --rest R.safetensors --threshold 0.5 "
    "--trainer kohya",
    "compare": "compare A B --suggest block",
    "distance": "distance A D",
    "blend": "blend A B --layers -*modulation* -o O.safetensors --force --verify",
    "average": "average A B --decay 0.9 -o O.safetensors --force",
    "resize": "resize A --rank 2 -o O.safetensors --force",
    "select": "select A --layers double_blocks -o O.safetensors --force --rest R.safetensors",
    "extract": "extract T --base W --rank 2 -o O.safetensors --force",
    "apply": "apply W E -o O.safetensors --force",
    "convert": "convert A --spelling generic -o O.safetensors --force",
    "verify": "verify A --inputs A B --weights 1 0",
    "metadata": "metadata A -o O.safetensors --force --title x",
    "recipe": "recipe M.safetensors",
    "methods": "methods",
    "run": "run run.toml",
    "families": "families",
}


def write_files(where: Path) -> None:
    """What the commands above work on."""
    odd = {"odd": torch.ones(2)}
    save(flux_file("kohya") | odd, where / "A", {"title": "x"})
    save(flux_file("diffusers", seed=1) | lora("x.y", pair=KOHYA, alpha=1), where / "B")
    weight = "double_blocks.0.img_attn.proj.weight"
    for name, size in (("W", 1.0), ("T", 2.0)):
        save({weight: size * torch.eye(16)}, where / name)
    save(lora("diffusion_model.double_blocks.0.img_attn.proj", (16, 16), 2), where / "E")
    (where / "run.toml").write_text('[inputs]\na = "A"\n[steps.i]\ncommand="info"\ninputs="a"\n')
    (where / "D").mkdir()
    save(flux_file("diffusers", seed=1), where / "D/B.safetensors")
    assert (
        main(["blend", str(where / "A"), "--weights", "0.5", "-o", str(where / "M.safetensors")])
        == 0
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("command", JSON_COMMANDS)
def test_json_has_the_keys_of_the_contract(folder, capsys, command):
    capsys.readouterr()
    assert main([*JSON_COMMANDS[command].split(), "--json"]) == 0
    found = keys(json.loads(capsys.readouterr().out))
    assert found == CONTRACT["json"].get(command), json.dumps({command: found}, indent=1)


def test_every_command_that_reports_has_json():
    found = {c for c, p in commands().items() if "--json" in p._option_string_actions}
    assert found == JSON_COMMANDS.keys() == CONTRACT["json"].keys()


def test_status_is_0_for_done_1_for_refused_2_for_wrong_usage(folder, capsys):
    assert main(["info", "A"]) == 0 and main(["info", "missing"]) == 1
    with pytest.raises(SystemExit) as caught:
        main(["info"])
    assert caught.value.code == 2
