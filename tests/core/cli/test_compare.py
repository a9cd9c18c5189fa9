"""compare and distance on a terminal: narrow tables, sentences, commands that can be typed.

Also of commands/compare.py, commands/distance.py: what they do.
"""

import json
import shlex

import pytest

from core.cli.main import main
from tests.helpers import KOHYA, flux_file, lora_file, save


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, spelling in enumerate(("kohya", "diffusers", "generic")):
        save(flux_file(spelling, seed=number), tmp_path / f"{spelling} file.safetensors")
    return [f"{spelling} file.safetensors" for spelling in ("kohya", "diffusers", "generic")]


def said(capsys, *arguments):
    capsys.readouterr()
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("full", [[], ["--full"]])
def test_the_table_of_two_has_every_block(files, capsys, full):
    out = said(capsys, "compare", *files[:2], *full)
    table = out.split("\n\n")[1].splitlines()
    assert [line.split("  ")[0] for line in table[1:-1]] == [
        "double_blocks.0", "single_blocks.0", "outside any block", "all",
    ]  # fmt: skip
    assert ("differ" in table[0]) == bool(full)


@pytest.mark.slow
def test_large_files_show_the_blocks_that_touch_most(tmp_path, capsys):
    names = [f"lora_unet_single_blocks_{i}_linear2" for i in range(38)]
    paths = [save(lora_file(names, KOHYA, seed=i), tmp_path / str(i)) for i in range(2)]
    out = said(capsys, "compare", *paths)
    assert out.count("single_blocks.") == 24 and "(14 more blocks with smaller cosines" in out
    rows = json.loads(said(capsys, "compare", *paths, "--json"))["blocks"]
    shown = sorted(rows, key=lambda row: -abs(row["cosine"]))[:24]
    assert all(row["block"] + " " in out for row in shown)


@pytest.mark.slow
def test_many_files_are_a_matrix_and_more_are_a_list(files, capsys):
    out = said(capsys, "compare", *files)
    assert [line.split()[0] for line in out.split("\n\n")[1].splitlines()] == [
        "cosine", "A", "B", "C",
    ]  # fmt: skip
    out = said(capsys, "compare", *files * 4)
    assert out.count("1.000") > 10 and "(42 more pairs: --json, --chart)" in out
    assert "and 12 more such pairs" in out


@pytest.mark.slow
@pytest.mark.parametrize("by", [[], ["block"]])
def test_a_suggestion_can_be_typed(files, capsys, by):
    out = said(capsys, "compare", *files[:2], "--suggest", *by, "--levels", "0.8", "0.6")
    (line,) = [line for line in out.splitlines() if line.startswith("lora-alloy blend")]
    command = [word.replace("OUT", "out.safetensors") for word in shlex.split(line)[1:]]
    assert main([*command, "--rank", "full"]) == 0
    # What was asked for: each one's effect in the sum, by its part of it.
    for file, level in zip(files, (0.8, 0.6), strict=False):
        report = json.loads(said(capsys, "compare", file, "out.safetensors", "--json"))
        (row,) = report["pairs"]
        effect = row["cosine"] * row["second_norm"] / row["first_norm"]
        assert effect == pytest.approx(level, abs=0.01)


@pytest.mark.slow
def test_charts_are_written(files, capsys):
    assert "written: two.png" in said(capsys, "compare", *files[:2], "--chart", "two.png")
    assert "written: all.svg" in said(capsys, "compare", *files, "--chart", "all.svg")
    assert main(["compare", *files, "--chart", "all.gif"]) == 1


def test_distance_lists_a_folder(files, capsys):
    out = said(capsys, "distance", files[0], ".")
    assert out.startswith(f"to {files[0]}")
    assert out.splitlines()[-1] == "2 files in .: 2 other"


@pytest.mark.parametrize("arguments", [["A"], ["A", "B", "--levels", "1", "2", "3"]])
def test_wrong_usage(arguments):
    with pytest.raises(SystemExit) as caught:
        main(["compare", *arguments])
    assert caught.value.code == 2
