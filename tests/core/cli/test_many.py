"""Many files in one command: which they are, what theirs are called, what became of each.

Also of inputs.py, many.py, where.py: it is what they do together.
"""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file

from core import samples
from core.cli.main import main
from tests.helpers import flux_file, lora, lora_file, same_bits, save

NAMES = ["blocks.0.attn", "blocks.1.attn"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three files, one of them in a folder of its own, one that is cut short, and a DoRA."""
    (tmp_path / "loras" / "deep").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "deep/c")):
        save(lora_file(NAMES, seed=number), tmp_path / f"loras/{name}.safetensors")
    whole = (tmp_path / "loras/a.safetensors").read_bytes()
    (tmp_path / "loras/cut.safetensors").write_bytes(whole[:100])
    dora = lora("blocks.0.attn")
    dora["blocks.0.attn.dora_scale"] = torch.ones(dora["blocks.0.attn.lora_B.weight"].shape[0], 1)
    save(dora, tmp_path / "loras/dora.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def written(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*.safetensors"))


def test_a_folder_is_done_file_by_file_and_failures_are_told_at_the_end(folder, capsys):
    assert main(["resize", "loras", "--rank", "2", "-o", "small/", "--dtype", "fp32"]) == 1
    printed = capsys.readouterr()
    table = printed.out.splitlines()
    assert table[0].split()[:4] == ["file", "before", "after", "rank"]
    fates = {line.split()[0]: line for line in table[1:-1]}
    assert fates["a.safetensors"].endswith("done") and "failed: " in fates["cut.safetensors"]
    assert "failed: is a DoRA" in fates["dora.safetensors"]
    assert table[-1] == "4 files: 2 done, 2 failed"
    assert printed.err.count("lora-alloy: ") == 2 and "dora.safetensors: module" in printed.err
    assert written(folder / "small") == ["a.safetensors", "b.safetensors"]
    # The same as one at a time.
    assert (
        main(
            [
                "resize",
                "loras/a.safetensors",
                "--rank",
                "2",
                "-o",
                "one.safetensors",
                "--dtype",
                "fp32",
            ]
        )
        == 0
    )
    assert same_bits(load_file("one.safetensors"), load_file("small/a.safetensors"))


def test_folders_in_a_folder_and_patterns(folder, capsys):
    assert main(["convert", "loras", "-r", "-o", "all/", "--dtype", "fp16"]) == 1
    assert written(folder / "all") == [
        "a.safetensors", "b.safetensors", "deep/c.safetensors", "dora.safetensors",
    ]  # fmt: skip
    assert (
        main(["convert", "loras/[ab].*", "-o", "{stem}_{dtype}.safetensors", "--dtype=bf16"]) == 0
    )
    assert {"a_bf16.safetensors", "b_bf16.safetensors"} <= set(os.listdir())
    assert main(["convert", "loras/q*", "-o", "x/"]) == 1
    assert "no file is called like that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("-o one.safetensors", "there are several to write"),
        ("-o same{rank}.safetensors", "two outputs would be this file"),
        ("-o x/{stemm}.safetensors", "{stemm} in 'x/{stemm}.safetensors' has no value here"),
        ("-o x/{stem.safetensors", "is no name"),
        ("-o loras/", "one of the inputs"),
        ("-o {stem}.png", "a .safetensors file"),
    ],
)
def test_names_are_checked_before_anything_is_read(folder, capsys, words, problem):
    before = written(folder)
    assert main(["resize", "loras", "--rank", "2", *words.split()]) == 1
    assert problem in capsys.readouterr().err
    assert written(folder) == before


def test_what_is_there_is_skipped_or_an_error(folder, capsys):
    words = ["resize", "loras/a.safetensors", "loras/b.safetensors", "--rank", "2", "-o", "small/"]
    assert main([*words[:2], *words[3:]]) == 0
    old = (folder / "small/a.safetensors").stat().st_mtime_ns
    assert main(words) == 1 and "already" in capsys.readouterr().err
    assert main([*words, "--dry-run"]) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert main([*words, "--skip-existing"]) == 0
    assert "2 files: 1 done, 1 there already" in capsys.readouterr().out
    assert (folder / "small/a.safetensors").stat().st_mtime_ns == old


def test_no_continue_ends_at_the_first_failure(folder, capsys):
    files = [f"loras/{name}.safetensors" for name in ("cut", "a", "b")]
    assert main(["resize", *files, "--rank", "2", "-o", "s/", "--no-continue"]) == 1
    assert "not begun" in capsys.readouterr().out


def test_several_at_once_are_the_same(folder, capsys):
    files = ["loras/a.safetensors", "loras/b.safetensors"]
    assert main(["resize", *files, "--rank", "2", "-o", "one/"]) == 0
    assert main(["resize", *files, "--rank", "2", "-o", "two/", "--jobs", "2"]) == 0
    for name in ("a", "b"):
        first, second = (load_file(f"{d}/{name}.safetensors") for d in ("one", "two"))
        assert same_bits(first, second)


@pytest.mark.slow
def test_every_command_of_one_file_takes_many(folder, capsys):
    files = ["loras/a.safetensors", "loras/b.safetensors"]
    for command in (
        "info",
        "metadata",
        "metadata --title x -o m/",
        "analyze --csv {stem}.csv",
        "top-blocks -o t/ --threshold 0.5",
        "select --layers blocks.0 -o k/ --rest r/",
        "convert -o c/",
    ):
        word, *options = command.split()
        assert main([word, *files, *options]) == 0, capsys.readouterr()
        assert "2 files" in capsys.readouterr().out
    assert {"a.csv", "b.csv"} <= set(os.listdir())
    assert len(written(folder)) == 5 + 5 * 2


def test_json_is_an_object_a_line(folder, capsys):
    assert main(["info", "loras", "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [os.path.basename(one["file"]) for one in found] == [
        "a.safetensors", "b.safetensors", "cut.safetensors", "dora.safetensors",
    ]  # fmt: skip
    assert found[2]["error"]["kind"] == "FileError" and "error" not in found[3]


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("family=Flux", {"flux"}),
        ("family=fl*", {"flux"}),
        ("family!=Flux", {"a", "b", "dora"}),
        ("kind=LoRA and rank<=4 and bytes<1MB", {"a", "b", "flux"}),
        ("kind=DoRA", {"dora"}),
        ("rank>4", set()),
        ("bytes>0.003 MB", {"flux"}),
    ],
)
def test_where_chooses_files(folder, capsys, condition, names):
    metadata = {"ss_base_model_version": "flux1"}
    save(flux_file("kohya"), folder / "loras/flux.safetensors", metadata)
    assert main(["info", "loras", "--where", condition, "--json"]) == 1  # One cannot be read.
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {f["name"].partition(".")[0] for f in found if "error" not in f} == names


def test_sort_and_unknown_columns(folder, capsys):
    save(flux_file("kohya"), folder / "loras/flux.safetensors")
    assert main(["info", "loras", "--sort", "bytes"]) == 1
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-1]]
    sizes = [os.path.getsize(f"loras/{name}") for name in rows]
    assert sizes == sorted(sizes, reverse=True) and len(rows) == 4
    assert main(["info", "loras", "--sort", "ranks"]) == 1
    assert "did you mean rank?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["info", "loras", "--where", "large"])


def test_a_grid_of_blends(folder, capsys):
    files = ["loras/a.safetensors", "loras/b.safetensors"]
    words = ["blend", *files, "--rank", "full", "--dtype", "fp32", "-o"]
    assert main([*words, "g/{w1}_{w2}.safetensors", "--weights", "0:1:0.5", "0.25"]) == 0
    assert "3 files: 3 done" in capsys.readouterr().out
    assert written(folder / "g") == [f"{w}_0.25.safetensors" for w in ("0.5", "0", "1")]
    assert main([*words, "one.safetensors", "--weights", "0.5", "0.25"]) == 0
    assert same_bits(load_file("one.safetensors"), load_file("g/0.5_0.25.safetensors"))
    with pytest.raises(SystemExit):
        main([*words, "one.safetensors", "--weights", "0:1:0.5", "0.25"])


def test_a_family_that_is_not_certain_has_a_question_mark(tmp_path, capsys):
    for sample in samples():
        shutil.copy(sample, tmp_path)
    assert main(["info", str(tmp_path)]) == 0
    rows = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    style, character = (rows[sample.name] for sample in samples())
    assert (style, character) == ("Flux?", "Flux")
