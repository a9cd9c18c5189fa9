"""The command line: what each option does, exit status, one-line errors, reports in JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from core.cli.main import main
from tests.helpers import (
    KOHYA,
    assert_close,
    best_error,
    dense,
    error,
    files_in,
    flux_dense,
    flux_file,
    lora,
    lora_file,
    save,
    weighted,
)
from tests.marks import one_in

NAMES = ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn"]
FIRST, SECOND = lora_file(NAMES, seed=1), lora_file(NAMES, KOHYA, alpha=2.0, seed=2)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save(FIRST, tmp_path / "a.safetensors", {"title": "first"})
    save(SECOND, tmp_path / "b.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cli(text: str, *more: str) -> int:
    """`A` and `B` in the text stand for the two files, `O` for the output."""
    names = {"A": "a.safetensors", "B": "b.safetensors", "O": "o.safetensors"}
    return main([names.get(word, word) for word in text.split()] + list(more))


def out() -> dict[str, torch.Tensor]:
    return dense(load_file("o.safetensors"))


@pytest.mark.parametrize(
    "options, weights",
    [
        ("", (1, 1)),
        ("--weights 0.5 0.25", (0.5, 0.25)),
        ("--weights 0.5", (0.5, 0.5)),
        ("--weights -0.5 1e-1", (-0.5, 0.1)),
        ("--weights -1e-1 -25E-2", (-0.1, -0.25)),
        ("--weights -.5e+0 -2.e0", (-0.5, -2)),
        ("--weights 0.7 -1.3", (0.7, -1.3)),
    ],
)
def test_blend_weights(folder, options, weights):
    assert cli(f"blend A B --rank full -o O {options}") == 0
    assert_close(out(), weighted(FIRST, SECOND, *weights))


def test_blend_of_one_file(folder):
    assert cli("blend A --weights 0.5 --rank full -o O") == 0
    assert_close(out(), {name: 0.5 * update for name, update in dense(FIRST).items()})


@pytest.mark.parametrize("method", ["svd", "pca --oversampling 3 --power-iterations 4 --seed 7"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_blend_rank_and_method(folder, method, precision):
    assert cli(f"blend A B --rank 3 --method {method} --compute-dtype {precision} -o O") == 0
    for name, exact in weighted(FIRST, SECOND, 1, 1).items():
        assert error(out()[name], exact) < 1.01 * best_error(exact, 3)
    assert load_file("o.safetensors")["blocks.0.attn.lora_A.weight"].shape[0] == 3


def test_blend_layers_and_block_weights(folder):
    text = ["--block-weights", "blocks.0: 2, 0; *.mlp: -1"]
    assert cli("blend A B --rank full --layers blocks.0 -o O", *text) == 0
    attn, mlp = weighted(FIRST, SECOND, 2, 0), weighted(FIRST, SECOND, -1, -1)
    assert_close(out(), {NAMES[0]: attn[NAMES[0]], NAMES[1]: mlp[NAMES[1]]})


@pytest.mark.parametrize("layers", ["-*mlp", "-blocks.0.mlp", "- blocks.0.mlp"])
@pytest.mark.parametrize("command", ["blend A B --rank full", "select A", "resize A --rank 2"])
def test_a_selector_may_begin_with_a_minus(folder, command, layers):
    assert cli(f"{command} -o O", "--layers", layers) == 0
    assert ("blocks.0.mlp" in out()) == command.startswith("resize")


@pytest.mark.parametrize("balance", ["none", "softmax", "proportional", "powerlaw", "sigmoid"])
def test_blend_balance(folder, balance):
    options = "--temperature 2 --floor 0.1 --power 1.5 --bias 0.5 --target-strength 3"
    assert cli(f"blend A B --rank full --balance {balance} {options} -o O") == 0
    told = json.loads(metadata()["lora_alloy"])["settings"]["balance"]
    assert told.split("(")[0] == balance
    assert (balance == "none") or "floor=0.1" in told
    exact = weighted(FIRST, SECOND, 1, 1)
    assert (max(error(out()[name], exact[name]) for name in exact) < 1e-5) == (balance == "none")


def metadata() -> dict[str, str]:
    with safe_open("o.safetensors", "pt") as file:
        return file.metadata()


def test_metadata_is_kept_and_the_recipe_recorded(folder):
    assert cli("blend A B -o O") == 0
    recipe = json.loads(metadata()["lora_alloy"])
    assert metadata()["title"] == "first" and recipe["operation"] == "blend"
    assert [entry["name"] for entry in recipe["inputs"]] == ["a.safetensors", "b.safetensors"]


ALL = ["blend F --rank full", "resize F --energy 1", "select F --layers *", "convert F"]
DTYPES = {"match": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("command", ALL)
def test_dtype_of_every_command(folder, command, dtype):
    save(FIRST, folder / "F")
    assert cli(f"{command} --dtype {dtype} -o O") == 0
    assert {t.dtype for t in load_file("o.safetensors").values()} == {DTYPES[dtype]}


@pytest.mark.parametrize("spelling", one_in(3, ["kohya", "diffusers", "generic"]))
@pytest.mark.parametrize("command", ALL)
def test_spelling_of_every_command(folder, command, spelling):
    tensors = flux_file("diffusers")
    save(tensors, folder / "F")
    assert cli(f"{command} --spelling {spelling} -o O") == 0
    result = load_file("o.safetensors")
    prefix = {"kohya": "lora_unet_", "diffusers": "transformer.", "generic": "diffusion_model."}
    assert all(key.startswith(prefix[spelling]) for key in result)
    found, exact = flux_dense(result), flux_dense(tensors)
    assert all(error(found[weight], exact[weight]) < 1e-5 for weight in exact)


RULES = [
    "--rank 3", "--energy 0.9", "--sv-ratio 2.5", "--sv-cumulative 0.8", "--sv-fro 0.9", "--knee",
    "--megabytes 0.003", "--parameters 300",
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_resize_and_its_preview_agree(folder, capsys, rule):
    assert cli(f"resize A {rule} --preview --json") == 0
    preview = json.loads(capsys.readouterr().out)
    assert files_in(folder) == {"a.safetensors", "b.safetensors"}
    assert cli(f"resize A {rule} --json -o O") == 0
    done = json.loads(capsys.readouterr().out)
    assert preview["modules"] == done["modules"]
    for row in done["modules"]:
        exact = dense(FIRST)[row["module"]]
        assert row["rank"] <= 4
        assert error(out()[row["module"]], exact) == pytest.approx(
            row["relative_error"], 1e-3, 1e-6
        )


def test_resize_limits(folder, capsys):
    assert cli("resize A --energy 0.1 --min-rank 2 --max-rank 2 --layers blocks.0 -o O --json") == 0
    ranks = {row["module"]: row["rank"] for row in json.loads(capsys.readouterr().out)["modules"]}
    assert ranks == {"blocks.0.attn": 2, "blocks.0.mlp": 2, "blocks.1.attn": 4}


def test_select_writes_both_parts(folder, capsys):
    assert cli("select A --layers blocks.0 -o O --rest rest.safetensors --json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["module"] for row in report["kept"]["modules"]] == NAMES[:2]
    assert [row["module"] for row in report["rest"]["modules"]] == NAMES[2:]
    assert_close(out() | dense(load_file("rest.safetensors")), dense(FIRST), 1e-12)


@pytest.mark.parametrize("weights, right", [("0.5 0.25", True), ("0.5 0.3", False)])
def test_verify(folder, capsys, weights, right):
    assert cli("blend A B --weights 0.5 0.25 --rank full -o O") == 0
    capsys.readouterr()
    assert cli(f"verify O --inputs A B --weights {weights} --json") == 0
    assert (json.loads(capsys.readouterr().out)["relative_error"] < 1e-6) == right
    status = cli(f"verify O --inputs A B --weights {weights} --max-error 1e-5")
    printed = capsys.readouterr()
    assert status == (0 if right else 1)
    assert "total relative error" in printed.out and "blocks.0.attn" in printed.out


def test_reports_for_machines_are_json_whatever_is_in_them(folder, capsys):
    # A module that should be zero and is not has no finite relative error.
    def no_constant(text):
        raise ValueError(f"{text} is not JSON")

    save(FIRST | lora_file(["spurious"]), folder / "o.safetensors")
    assert cli("verify O --inputs A A --weights 1 -1 --json") == 0
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


@pytest.mark.slow
def test_the_demo_runs_every_command(folder, capsys):
    assert main(["demo", "--output-dir", "tour"]) == 0
    text = capsys.readouterr().out
    for command in ("info", "blend", "verify", "resize", "select", "convert"):
        assert f"$ lora-alloy {command}" in text
    assert not [name for name in files_in(folder) if name.endswith(".part")]
    assert "tour/blend.safetensors" in files_in(folder)


@pytest.mark.slow
def test_python_m_core_is_the_command_line(folder):
    run = [sys.executable, "-m", "core", "info", str(folder / "gone")]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("lora-alloy: ") and "Traceback" not in result.stderr
