"""The commands analyze and top-blocks.

Also of commands/analyze.py, commands/top_blocks.py: what they do.
"""

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from core.cli.main import main
from core.cli.printing import say
from core.insight.analysis import EXTRA_COLUMNS, notebook_columns
from core.storage.files import open_tensors
from tests.helpers import files_in, lora, same_bits, save

SAMPLE = str(Path(__file__).parents[3] / "core" / "samples" / "character_kohya.safetensors")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    return tmp_path


def read(path) -> dict:
    tensors = open_tensors(path)
    return {key: tensors[key] for key in tensors.info}


HEADINGS = "layer rank spectral norm energy effective rank Frobenius norm stable rank softmax"


@pytest.mark.slow
def test_analyze_prints_the_strongest_layers_and_what_they_mean(folder, capsys):
    assert main(["analyze", SAMPLE, "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == HEADINGS
    assert [line.split()[0] for line in lines[1:4]] == [
        "double_blocks.0.img_mod.lin",
        "single_blocks.0.linear1",
        "double_blocks.1.img_mod.lin",
    ]
    # Columns stand under each other.
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[4] == "(25 more layers: --top, --csv)"
    assert lines[5].startswith("90 % of the energy sits in 5 of 6 blocks (91.42%)")
    assert any(line.startswith("90 % of the softmax") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("width", [20, 40, 80, 100, 120])
def test_a_narrow_terminal_folds_and_leaves_nothing_out(width, folder, capsys, monkeypatch):
    name = "input_blocks.8.1.transformer_blocks.9.attn2.to_out.0"
    save(lora("diffusion_model." + name), "long.safetensors")
    assert main(["analyze", "long.safetensors"]) == 0
    whole = capsys.readouterr().out
    cells = whole.splitlines()[1].split()
    assert cells[0] == name and len(cells) == 8
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["analyze", "long.safetensors", "--color", "never"]) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    table = out.partition("90 %")[0]
    assert all(len(line) <= max(width, len(name)) for line in table.splitlines())
    pieces = re.sub(r"[\s,]+", "", table)
    assert name in pieces or all(part in pieces for part in name.split("."))
    for value in cells[1:]:
        assert value in table
    for word in HEADINGS.split()[1:]:
        assert word in table


@pytest.mark.slow
def test_analyze_writes_all_columns(folder, capsys):
    arguments = ["--statistics", "full", "--csv", "a.csv", "--chart", "a.svg", "--chart-kind"]
    assert main(["analyze", SAMPLE, *arguments, "heat map"]) == 0
    out = capsys.readouterr().out
    assert "written: a.csv" in out and "written: a.svg" in out
    table = pd.read_csv("a.csv")
    assert list(table) == [*notebook_columns(), *EXTRA_COLUMNS]
    assert table["dW.svd.spectral_norm"].is_monotonic_decreasing
    assert (folder / "a.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_analyze_sorts_by_any_column(folder, capsys):
    arguments = ["--statistics", "full", "--sort-by", "dW.percentiles.p99", "--ascending"]
    assert main(["analyze", SAMPLE, *arguments, "--top", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[1] == "dW.percentiles.p99"
    values = [float(line.split()[1]) for line in lines[1:5]]
    assert values == sorted(values)


def test_analyze_for_machines(folder, capsys):
    state = lora("blocks.0.attn.q") | lora("blocks.1.attn.q")
    state["blocks.1.attn.q.dora_scale"] = state["blocks.1.attn.q.lora_B.weight"][:, :1]
    save(state, "dora.safetensors")
    assert main(["analyze", "dora.safetensors", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["statistics"] == "spectral" and "family" in result
    first, second = result["rows"]
    assert first["A.shape"] == [4, 12] and first["dW.svd.spectral_norm"] > 0
    assert second["dW.svd.spectral_norm"] is None and "DoRA" in second["not_measured"]
    assert "not measured: 1 of 2 layers" in result["text"][0]


@pytest.mark.slow
def test_top_blocks_writes_both_sides(folder, capsys):
    arguments = ["--threshold", "0.4", "--importance", "energy", "-o", "a.safetensors"]
    assert main(["top-blocks", SAMPLE, *arguments, "--rest", "b.safetensors"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^block +importance +cumulative", out)
    assert "40 % of the energy sits in 2 of 6 blocks" in out
    kept, rest = read("a.safetensors"), read("b.safetensors")
    assert same_bits(kept | rest, read(SAMPLE))
    assert {re.search(r"(double|single)_blocks_\d", key)[0] for key in kept} == {
        "double_blocks_0",
        "double_blocks_1",
    }
    assert main(["top-blocks", SAMPLE, *arguments[:-1], "c.safetensors", "--remove"]) == 0
    assert same_bits(read("c.safetensors"), rest)


@pytest.mark.slow
def test_top_blocks_without_output_only_tells(folder, capsys):
    assert main(["top-blocks", SAMPLE, "--trainer", "ai-toolkit", "--chart", "c.png"]) == 0
    out = capsys.readouterr().out
    for name in ("transformer_blocks.0.", "single_transformer_blocks.0."):
        assert f'- "transformer.{name}"' in out
    assert files_in(folder) == {"c.png"}
    arguments = ["--trainer", "kohya", "--trainer-output", "next.toml"]
    assert main(["top-blocks", SAMPLE, *arguments]) == 0
    assert "network" not in capsys.readouterr().out.partition("written")[0]
    assert "network_args" in (folder / "next.toml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("typed", ["heatmap", "heat-map", "Heat Map"])
def test_what_people_type_is_understood(folder, capsys, typed):
    """The kinds of charts, and the headings of the table as columns to sort by."""
    arguments = ["--chart", "c.svg", "--chart-kind", typed, "--sort-by"]
    for column in ("energy", "effective-rank", "dW.energy_share"):
        assert main(["analyze", SAMPLE, *arguments, column, "--force"]) == 0
    with pytest.raises(SystemExit):
        main(["analyze", SAMPLE, "--chart-kind", typed])
    assert "--chart-kind needs --chart" in capsys.readouterr().err


def test_top_blocks_for_machines(folder, capsys):
    arguments = ["--temperature", "3", "--always", "single_blocks.3", "-o", "k.safetensors"]
    assert main(["top-blocks", SAMPLE, "--json", "--trainer", "peft", *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["blocks"][0] == result["importance"][0]["block"]
    assert result["trainer_config"].startswith("peft.LoraConfig(")
    assert result["rest"] is None
    modules = {row["module"] for row in result["kept"]["modules"] if row["action"] != "dropped"}
    assert "single_blocks.3.linear1" in modules


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["analyze", "none.safetensors"], 1, "no such file"),
        (["analyze", SAMPLE, "--sort-by", "size"], 1, "no such column"),
        (["analyze", SAMPLE, "--chart", "a.jpg"], 1, "a .png or .svg file"),
        (["analyze", SAMPLE, "--csv", "no/a.csv"], 1, "does not exist"),
        (["top-blocks", SAMPLE, "--threshold", "2"], 1, "must be above 0 and at most 1"),
        (["top-blocks", SAMPLE, "--threshold", "1", "-o", "a.safetensors",
          "--rest", "b.safetensors"], 1, "there is no rest"),
        (["top-blocks", SAMPLE, "--rest", "b.safetensors"], 2, "--rest needs -o"),
        (["top-blocks", SAMPLE, "--keep", "--remove"], 2, "not allowed with"),
        (["top-blocks", SAMPLE, "--trainer", "onetrainer"], 2, "invalid choice"),
    ],
)  # fmt: skip
def test_errors(folder, capsys, arguments, code, message):
    try:
        found = main(arguments)
    except SystemExit as exit:
        found = exit.code
    assert found == code
    assert message in capsys.readouterr().err
    assert files_in(folder) == set()


@pytest.mark.parametrize("command", ["analyze", "top-blocks"])
def test_a_chart_that_cannot_be_written_is_refused_before_anything_is_read(command, capsys):
    assert main([command, "no such file", "--chart", "a.gif"]) == 1
    assert "call it a.png" in capsys.readouterr().err


def test_a_negative_number_of_rows_is_a_mistake(capsys):
    with pytest.raises(SystemExit):
        main(["analyze", SAMPLE, "--top", "-1"])
    assert "--top -1 must be 0 or more" in capsys.readouterr().err


def test_sentences_break_between_words_on_a_terminal_only(capsys, monkeypatch):
    line = "90 % of the energy sits in 2 of 6 blocks (94.69%): double_blocks.1, double_blocks.0"
    say([line])
    assert capsys.readouterr().out == line + "\n"
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    say([line])
    first, second = capsys.readouterr().out.splitlines()
    assert len(first) <= 50 and second.startswith("  ")
    assert f"{first} {second.strip()}" == line
