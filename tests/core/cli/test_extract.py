"""The commands that take models: extract, apply, and --base on those that take LoRAs.

Also of commands/apply.py: a model is its input, too.
"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.cli.main import main
from tests.core.edits.test_extract import model, with_lora
from tests.helpers import error, files_in, lora


@pytest.fixture
def models(tmp_path):
    base = model()
    after, _ = with_lora(base, 3)
    save_file(base, tmp_path / "base.safetensors")
    save_file(after, tmp_path / "tuned.safetensors")
    return tmp_path


def run(folder, *words) -> int:
    paths = [
        str(folder / word) if word.endswith((".safetensors", ".png")) else word for word in words
    ]
    return main(paths)


@pytest.mark.slow
def test_extract_and_apply_give_the_tuned_model_again(models, capsys):
    words = ("extract", "tuned.safetensors", "--base", "base.safetensors", "-o", "lora.safetensors")
    assert run(models, *words, "--knee", "--verify", "--chart", "curve.png") == 0
    said = capsys.readouterr().out
    assert (
        "rank 3" in said and "verified: read again" in said and "relative error at rank: 1" in said
    )
    assert (models / "curve.png").read_bytes()[1:4] == b"PNG"
    words = ("apply", "base.safetensors", "lora.safetensors", "-o", "again.safetensors")
    assert run(models, *words) == 0
    again, tuned = (load_file(models / f"{name}.safetensors") for name in ("again", "tuned"))
    assert all(error(again[key], tuned[key]) < 1e-6 for key in tuned)


def test_json_has_the_curve(models, capsys):
    words = ("extract", "tuned.safetensors", "--base", "base.safetensors", "--preview", "--json")
    assert run(models, *words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["value"] == 32 and found["operation"] == "extract"
    ranks = [point["rank"] for point in found["curve"]]
    assert ranks == [2**n for n in range(len(ranks))] and found["curve"][2]["most"] < 1e-5
    assert "lora.safetensors" not in files_in(models)


@pytest.mark.parametrize("command", ["blend", "resize", "convert", "select"])
def test_with_a_base_a_dora_becomes_plain(models, command):
    raw = "diffusion_model.double_blocks.0.img_attn.proj"
    dora = lora(raw, (96, 96), 4) | {f"{raw}.dora_scale": torch.ones(96, 1)}
    save_file(dora, models / "dora.safetensors")
    words = {"blend": ("--weights", "0.5"), "resize": ("--rank", "8"), "select": ("--layers", "*")}
    given = (command, "dora.safetensors", "-o", "out.safetensors", *words.get(command, ()))
    assert run(models, *given, "--base", "base.safetensors") == 0
    keys = set(load_file(models / "out.safetensors"))
    assert not any("dora" in key for key in keys) and keys
    recipe = "recipe", "out.safetensors"
    assert run(models, *recipe) == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("extract", "tuned.safetensors", "--base", "tuned.safetensors"), "nothing to extract"),
        (("extract", "none.safetensors", "--base", "base.safetensors"), "no such file"),
        (("apply", "base.safetensors", "base.safetensors"), "no LoRA tensors in it"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(models, capsys, words, problem):
    before = files_in(models)
    assert run(models, *words, "-o", "out.safetensors") == 1
    said = capsys.readouterr().err
    assert problem in said and said.count("\n") == 1
    assert files_in(models) == before
    with pytest.raises(SystemExit):
        run(models, "extract", "tuned.safetensors", "--base", "base.safetensors")
