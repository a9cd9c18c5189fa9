"""The commands info and verify.

Also of commands/info.py, commands/verify.py: what they do.
"""

import json

import pytest

from tests.core.cli.commands import FIRST, NAMES, cli
from tests.helpers import KOHYA, flux_file, lora, lora_file, save


@pytest.mark.parametrize("weights, right", [("0.5 0.25", True), ("0.5 0.3", False)])
def test_verify(folder, capsys, weights, right):
    assert cli("blend A B --weights 0.5 0.25 --rank full -o O") == 0
    capsys.readouterr()
    assert cli(f"verify O --inputs A B --weights {weights} --json") == 0
    assert (json.loads(capsys.readouterr().out)["relative_error"] < 1e-6) == right
    status = cli(f"verify O --inputs A B --weights {weights} --max-error 1e-5")
    printed = capsys.readouterr()
    assert status == (0 if right else 1)
    assert "relative error" in printed.out and "blocks.0.attn" in printed.out
    assert ("is above 1e-05" in printed.err) != right


def test_verify_needs_no_more_than_the_file(folder, capsys):
    """Its recipe says what it was made of; what is missing or another file is an error."""
    assert cli("blend A B --weights 0.5 0.25 --rank full -o O") == 0
    assert cli("verify O") == 0
    assert "nothing is lost" in capsys.readouterr().out
    assert cli("verify O --json") == 0
    assert json.loads(capsys.readouterr().out)["settings"]["weights"] == [0.5, 0.25]
    save(lora_file(NAMES, seed=9), folder / "b.safetensors")
    assert cli("verify O") == 1 and "another file" in capsys.readouterr().err
    (folder / "b.safetensors").unlink()
    assert cli("verify O") == 1 and "missing" in capsys.readouterr().err
    assert cli("verify A") == 1 and "has no recipe" in capsys.readouterr().err


def test_verify_refuses_what_lost_most_or_lacks_modules(folder, capsys):
    save(lora_file(NAMES[:1], seed=1), folder / "o.safetensors")
    assert cli("verify O --inputs A") == 1
    assert "is above 0.5" in capsys.readouterr().err
    assert cli("verify O --inputs A --max-error 2") == 1
    assert "2 of 3 modules are missing" in capsys.readouterr().err
    assert cli("verify O A --inputs A") == 1
    assert "2 files: 1 done, 1 failed" in capsys.readouterr().out


def test_reports_for_machines_are_json_whatever_is_in_them(folder, capsys):
    # A module that should be zero and is not has no finite relative error.
    def no_constant(text):
        raise ValueError(f"{text} is not JSON")

    save(FIRST | lora_file(["spurious"]), folder / "o.safetensors")
    assert cli("verify O --inputs A A --weights 1 -1 --json") == 1
    report = json.loads(capsys.readouterr().out, parse_constant=no_constant)
    assert report["modules"][-1]["relative_error"] is None


def test_info(folder, capsys):
    assert cli("info B --names") == 0
    text = capsys.readouterr().out
    for word in ("b.safetensors", "LoRA (3)", "4 (3)", "2 (3)", "float32", *NAMES):
        assert word in text
    assert cli("info A --json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["metadata"] == {"title": "first"}
    assert facts["modules"][0] == {
        "name": NAMES[0],
        "stored_as": NAMES[0],
        "kind": "LoRA",
        "rank": 4,
        "alpha": None,
        "shape": [16, 12],
        "dtype": "float32",
    }


@pytest.mark.parametrize(
    "metadata, family",
    [
        ({"ss_base_model_version": "flux1"}, "Flux (certain, 5 of 5 names known)"),
        ({}, "Flux or Chroma (possible, 5 of 5 names known)"),
    ],
)
def test_info_shows_the_family_how_sure_that_is_and_the_blocks(folder, capsys, metadata, family):
    encoder = lora("lora_te1_text_model_encoder_layers_3_mlp_fc1", alpha=1.0, pair=KOHYA)
    tensors = {k: t for k, t in flux_file("kohya").items() if "final_layer" not in k} | encoder
    save(tensors | lora("lora_unet_img_in"), folder / "a.safetensors", metadata)
    assert cli("info A") == 0
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["family"].strip() == family and lines["spelling"].strip() == "kohya"
    assert lines["blocks"].strip() == (
        "clip_l.encoder.layers (1), double_blocks (1), single_blocks (1)"
    )
    save(encoder, folder / "b.safetensors")
    assert cli("info B") == 0
    assert "unknown model family (text encoders only)" in capsys.readouterr().out


def test_info_says_how_a_file_was_made(folder, capsys):
    assert cli("blend A B -o O") == 0
    capsys.readouterr()
    assert cli("info O") == 0
    assert "blend of a.safetensors, b.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ["{", "[1]", "7", '{"inputs": 3}', '{"inputs": ["a"]}'])
def test_info_survives_a_recipe_that_others_wrote(folder, capsys, recipe):
    save(FIRST, folder / "a.safetensors", {"lora_alloy": recipe})
    assert cli("info A") == 0
    assert "a.safetensors" in capsys.readouterr().out
