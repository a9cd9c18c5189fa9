"""A run as a file: what it makes, what it makes again, and errors that name the line.

Also of commands/run.py, recipes.py: one reads what the other runs.
"""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from core.cli.main import main
from core.cli.recipes import line_of

SAMPLES = Path(__file__).parents[3] / "core" / "samples"
RECIPE = """\
[inputs]
style = "style.safetensors"
character = "character.safetensors"

[steps.both]
command = "blend"
inputs = ["style", "character"]
weights = [0.8, 0.6]
rank = "full"
output = "both.safetensors"

[steps.small]
command = "shrink"
inputs = ["both"]
megabytes = 0.1
output = "out/small.safetensors"

[steps.half]
command = "convert"
inputs = "small"
dtype = "fp16"
output = "out/half.safetensors"

[steps.table]
command = "analyze"
inputs = ["style"]
statistics = "energy"
csv = "out/style.csv"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copyfile(SAMPLES / "style_diffusers.safetensors", tmp_path / "style.safetensors")
    shutil.copyfile(SAMPLES / "character_kohya.safetensors", tmp_path / "character.safetensors")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *words):
    assert main(["run", "recipe.toml", "--json", *words]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)["steps"]


def digests(folder):
    files = [p for p in folder.rglob("*") if p.suffix in (".safetensors", ".csv")]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def changed(folder, old, new):
    text = (folder / "recipe.toml").read_text()
    assert old in text
    (folder / "recipe.toml").write_text(text.replace(old, new))


@pytest.mark.slow
def test_four_steps_and_what_is_up_to_date(folder, capsys):
    assert set(run(capsys).values()) == {"made"}
    first = digests(folder)
    assert len(first) == 6
    assert set(run(capsys).values()) == {"up to date"}
    # The same bytes on the second run, wherever it is.
    assert set(run(capsys, "--again").values()) == {"made"} and digests(folder) == first
    # The commands are what they are by hand.
    words = "--weights 0.8 0.6 --rank full -o by_hand.safetensors"
    assert main(["blend", "style.safetensors", "character.safetensors", *words.split()]) == 0
    assert digests(folder)["by_hand.safetensors"] == first["both.safetensors"]
    capsys.readouterr()
    # What changes is made again, and what was made of it; all else stays.
    changed(folder, "megabytes = 0.1", "megabytes = 0.08")
    found = run(capsys, "--dry-run")
    assert found == {
        "both": "up to date", "small": "would be made", "half": "would be made",
        "table": "up to date",
    }  # fmt: skip
    assert run(capsys, "--only", "small") == {"both": "up to date", "small": "made"}
    (folder / "both.safetensors").write_bytes(b"damaged")
    assert run(capsys)["both"] == "made"


@pytest.mark.slow
def test_every_file_that_was_made_prints_its_recipe(folder, capsys):
    run(capsys, "--only", "half")
    made = digests(folder)["half.safetensors"]
    assert main(["recipe", "out/half.safetensors", "--toml"]) == 0
    shutil.rmtree(folder / "out")
    (folder / "both.safetensors").unlink()
    (folder / "recipe.lock").unlink()
    (folder / "recipe.toml").write_text(capsys.readouterr().out)
    run(capsys)
    assert digests(folder)["again-half.safetensors"] == made


def test_an_input_is_found_by_its_hash(folder, capsys):
    digest = digests(folder)["style.safetensors"]
    (folder / "deep").mkdir()
    (folder / "style.safetensors").rename(folder / "deep/renamed.safetensors")
    changed(folder, '"style.safetensors"', f'{{ sha256 = "{digest}" }}')
    assert main(["run", "recipe.toml", "--dry-run"]) == 1
    assert "recipe.toml:2: input 'style'" in capsys.readouterr().err
    text = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text('search = ["deep"]\n' + text)
    assert main(["run", "recipe.toml", "--dry-run"]) == 0


def test_a_recipe_extends_another(folder, capsys):
    (folder / "more.toml").write_text('extends = "recipe.toml"\n[steps.small]\nmegabytes = 0.05\n')
    assert main(["run", "more.toml", "--dry-run"]) == 0
    assert "--megabytes=0.05" in capsys.readouterr().out
    (folder / "more.toml").write_text('extends = "more.toml"')
    assert main(["run", "more.toml"]) == 1
    assert "extends files without end" in capsys.readouterr().err
    (folder / "more.toml").write_text('extends = "recipe.toml"\n[steps.half]\ndtype = "x"\n')
    assert main(["run", "more.toml"]) == 1
    assert "more.toml:3: argument --dtype" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("weights = [", "weigths = [", 8, "did you mean weights?"),
        ("[0.8, 0.6]", '["much", 0.6]', 8, "'much' is no number"),
        ('"shrink"', '"shrnk"', 13, "no step is a 'shrnk'; did you mean shrink?"),
        ('["both"]', '["bot"]', 14, "did you mean both?"),
        ("megabytes = 0.1", "megabytes = 0.1\nrank = 4", 16, "not allowed with argument"),
        ('inputs = "small"', 'inputs = "table"', 20, "'table' is no input and no earlier step"),
        ('"style.safetensors"', "3", 2, "is no file"),
        ('"style.safetensors"', '"nowhere.safetensors"', 2, "is not there"),
        ("[inputs]", "[input]", 1, "did you mean inputs?"),
        ('dtype = "fp16"', "dtype = fp16", 21, "is no TOML"),
        ("statistics", "json = true\nstatistics", 27, "has no 'json'"),
    ],
)
def test_errors_name_the_line(folder, capsys, old, new, line, problem):
    changed(folder, old, new)
    assert main(["run", "recipe.toml"]) == 1
    told = capsys.readouterr().err
    assert f"recipe.toml:{line}: " in told and problem in told, told
    assert not (folder / "both.safetensors").exists()


def test_the_line_of_a_key():
    text = "a = 1\n[x]\na = 2\n# b = 1\n[x.y]\nb.c = 1\n"
    assert [line_of(text, *key) for key in (("", "a"), ("x", "a"), ("x.y", "b"))] == [1, 3, 6]
    assert line_of(text, "x", "none") == 2 and line_of(text, "z", "a") is None


@pytest.mark.slow
def test_the_recipe_of_the_readme_runs(folder, capsys):
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (folder / "recipe.toml").write_text(readme.partition("```toml\n")[2].partition("```")[0])
    assert set(run(capsys).values()) == {"made"}
