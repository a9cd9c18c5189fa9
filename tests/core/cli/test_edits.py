"""The command line: what each option does, exit status, one-line errors, reports in JSON.

Also of commands/blend.py, commands/resize.py, commands/select.py: what they do.
Also of commands/convert.py, commands/methods.py, commands/families.py, ranks.py: what they do.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.core.cli.commands import FIRST, NAMES, SECOND, cli, out
from tests.helpers import (
    assert_close,
    best_error,
    dense,
    error,
    files_in,
    flux_dense,
    flux_file,
    save,
    weighted,
)
from tests.marks import one_in

ROOT = Path(__file__).parents[3]


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
    assert cli(f"blend A B --rank 3 --truncation {method} --compute-dtype {precision} -o O") == 0
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


@pytest.mark.slow
def test_families_shows_every_family_and_what_is_left_out(capsys):
    assert cli("families") == 0
    out = capsys.readouterr().out
    assert "Flux.2" in out and "UNet2DConditionModel" in out and "TripoSplat: makes splats" in out
    assert cli("families --json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["family"] for row in told["families"]} >= {"Flux", "Wan", "Boogu"}
    assert told["not_covered"]["SAM3"] == "cuts out objects"
