"""metadata and recipe, and the options that all commands that write share.

Also of commands/recipe.py, recipe_settings.py, commands/metadata.py: one writes, one reads.
"""

import json
import shlex

import pytest

from core.cli.commands.recipe import file_name, quoted
from core.cli.main import main
from tests.core.running.programs import A1111, Manager, addnet_hash, after_header, metadata
from tests.helpers import KOHYA, flux_file, lora_file, save


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save(flux_file("kohya", rank=6), tmp_path / "a.safetensors", {"format": "pt"})
    for i, name in enumerate("bcd"):
        save(flux_file("kohya", seed=i + 1), tmp_path / f"{name}.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str) -> None:
    assert main(shlex.split(line)) == 0


WRITING = {
    "blend": "blend a.safetensors b.safetensors -o o.safetensors",
    "resize": "resize a.safetensors --rank 2 -o o.safetensors",
    "select": "select a.safetensors --layers double_blocks -o o.safetensors",
    "convert": "convert a.safetensors --spelling generic -o o.safetensors",
    "top-blocks": "top-blocks a.safetensors --threshold 0.5 -o o.safetensors",
    "metadata": "metadata a.safetensors -o o.safetensors",
}
WISHES = "--title 'My title' --trigger 'one, two' --set key=a=b --unset format"


@pytest.mark.parametrize("command", WRITING)
def test_every_command_that_writes_takes_wishes(folder, command):
    run(f"{WRITING[command]} {WISHES}")
    manager = Manager("o.safetensors")
    assert (manager.title, manager.words) == ("My title", ["one", "two"])
    assert manager.metadata["key"] == "a=b" and "format" not in manager.metadata
    run(f"{WRITING[command]} --metadata none --force")
    assert metadata("o.safetensors") == {}


@pytest.mark.parametrize("wrong", ["--set novalue", "--set =x", "--metadata all"])
def test_wrong_wishes_are_wrong_usage(folder, capsys, wrong):
    with pytest.raises(SystemExit) as caught:
        main([*WRITING["resize"].split(), *wrong.split()])
    assert caught.value.code == 2


def test_metadata_shows_and_changes_the_header_alone(folder, capsys):
    tags = json.dumps({"set": {"x" * 1000: 1}})
    save(lora_file("x"), folder / "m.safetensors", {"a": "1\x1b[31m\n2", "ss_tag_frequency": tags})
    run("metadata m.safetensors")
    shown = capsys.readouterr().out
    assert "a: 1\\x1b[31m\\n2\n" in shown and "characters; --json shows all" in shown
    run("metadata m.safetensors -o n.safetensors --set a=2 --json")
    told = json.loads(capsys.readouterr().out)["metadata"]
    assert told["a"] == "2" and told == metadata("n.safetensors")
    assert after_header("n.safetensors") == after_header("m.safetensors")
    with pytest.raises(SystemExit):
        main(["metadata", "m.safetensors", "--title", "x"])
    assert main(["metadata", "m.safetensors", "-o", "m.safetensors"]) == 1
    run("metadata b.safetensors")
    assert "no metadata" in capsys.readouterr().out


def make_chain() -> None:
    """Four files in three blends, a resize and a part of it."""
    run("blend a.safetensors b.safetensors --weights 0.5 -0.25 --rank full -o ab.safetensors")
    run("blend ab.safetensors c.safetensors --rank 4 --truncation pca --seed 3 -o abc.safetensors")
    run(
        "blend abc.safetensors d.safetensors --balance softmax --temperature 2 --keep-zero "
        "--block-weights 'double_blocks.0: 1, 0' --rank full --title 'All four' -o all.safetensors"
    )
    run("resize all.safetensors --energy 0.9 --compute-dtype float64 -o small.safetensors")
    run("select small.safetensors --layers '-single_blocks*' -o x.safetensors --rest y.safetensors")


@pytest.mark.slow
def test_a_chain_is_made_again_to_the_byte(folder, capsys):
    make_chain()
    before = {name: (folder / name).read_bytes() for name in ("all.safetensors", "y.safetensors")}
    capsys.readouterr()
    run("recipe y.safetensors --json")
    plan = json.loads(capsys.readouterr().out)
    assert [step["command"][0] for step in plan["steps"]] == ["blend"] * 3 + ["resize", "select"]
    assert not any(step["problems"] for step in plan["steps"])
    roots = {f"{letter}.safetensors" for letter in "abcd"}
    assert {one["name"] for one in plan["inputs"]} == roots | {
        "ab.safetensors", "abc.safetensors", "all.safetensors", "small.safetensors"
    }  # fmt: skip
    assert {one["state"] for one in plan["inputs"]} == {"found"}
    for name in ("ab", "abc", "all", "small", "x"):
        (folder / f"{name}.safetensors").unlink()
    (folder / "out").mkdir()
    run("recipe y.safetensors --run -o out/y.safetensors")
    said = capsys.readouterr().out
    assert "out/y.safetensors: the tensors of y.safetensors, to the bit" in said
    assert "not the same bytes" not in said
    assert (folder / "out/y.safetensors").read_bytes() == before["y.safetensors"]
    left = {path.name for path in folder.iterdir()}
    assert left == roots | {"y.safetensors", "out"}


@pytest.mark.slow
def test_the_printed_commands_do_it(folder, capsys):
    make_chain()
    wanted = addnet_hash("y.safetensors")
    capsys.readouterr()
    run("recipe y.safetensors -o again.safetensors")
    lines = capsys.readouterr().out.splitlines()
    assert "# a.safetensors: found" in lines[0]
    for name in ("ab", "abc", "all", "small", "x"):
        (folder / f"{name}.safetensors").unlink()
    for line in lines:
        if not line.startswith("#"):
            assert line.startswith("lora-alloy ")
            run(line.removeprefix("lora-alloy "))
    assert addnet_hash("again.safetensors") == wanted


def test_inputs_are_checked_by_hash(folder, capsys):
    run(WRITING["blend"])
    save(flux_file("kohya", seed=9), folder / "b.safetensors")
    capsys.readouterr()
    run("recipe o.safetensors")
    assert "# b.safetensors: another file" in capsys.readouterr().out
    assert main(["recipe", "o.safetensors", "--run", "-o", "again.safetensors"]) == 1
    assert "is not the file that was used then" in capsys.readouterr().err
    (folder / "b.safetensors").unlink()
    assert main(["recipe", "o.safetensors", "--run", "-o", "again.safetensors"]) == 1
    assert "is not there" in capsys.readouterr().err
    assert not (folder / "again.safetensors").exists()
    # They may lie elsewhere.
    (folder / "else").mkdir()
    save(flux_file("kohya", seed=1), folder / "else/b.safetensors")
    (folder / "a.safetensors").rename(folder / "else/a.safetensors")
    run("recipe o.safetensors --inputs else --run -o again.safetensors")
    assert addnet_hash("again.safetensors") == addnet_hash("o.safetensors")


def test_a_file_is_not_replaced_by_its_second_making(folder, capsys):
    run(WRITING["blend"])
    before = (folder / "o.safetensors").read_bytes()
    assert main(["recipe", "o.safetensors", "--run", "-o", "./o.safetensors"]) == 1
    assert "is the file itself" in capsys.readouterr().err
    assert (folder / "o.safetensors").read_bytes() == before
    with pytest.raises(SystemExit):
        main(["recipe", "o.safetensors", "--run"])
    assert main(["recipe", "b.safetensors"]) == 1
    assert "has no recipe" in capsys.readouterr().err


def forged(folder, operation="resize", source="a.safetensors", **settings) -> None:
    entry = {"name": source, "sha256": None}
    recipe = {"operation": operation, "settings": settings, "inputs": [entry]}
    save(lora_file("x"), folder / "evil.safetensors", {"lora_alloy": json.dumps(recipe)})


RESIZE = {"name": "rank", "value": 2}
EVIL = [
    {**RESIZE, "rest": "stolen"},
    {**RESIZE, "output": "stolen"},
    {**RESIZE, "force": True},
    {"operation": "blend", "weights": ["1", "-o", "stolen"]},
    {"operation": "blend", "weights": ["1", "--json"]},
    {"operation": "metadata"},
    {"operation": "demo", "output_dir": "stolen"},
    {"operation": "--help"},
    {"operation": "blend", "block_weights": "x: 1\n@/dev/zero:x"},
    {"name": "output", "value": "stolen"},
    {"name": "rest", "value": "stolen"},
    {**RESIZE, "layers": "a function"},
]


@pytest.mark.parametrize("settings", EVIL, ids=str)
def test_a_recipe_cannot_say_what_is_written_where(folder, capsys, settings):
    forged(folder, **settings)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    run("recipe evil.safetensors")
    assert "# not on the command line: " in capsys.readouterr().out
    assert main(["recipe", "evil.safetensors", "--run", "-o", "out.safetensors"]) == 1
    assert "cannot be run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


NAMES = ["../../a", "/etc/passwd", "C:\\x\\a", "-o", "a\n; rm -rf ~", "$(x)", "..", "", "\x1b[31m"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_in_a_recipe_is_a_file_of_the_folder(folder, capsys, name):
    found = file_name(name)
    assert found.endswith(".safetensors") and "/" not in found and "\\" not in found
    assert found.isprintable() and not found.startswith(".")
    forged(folder, source=name, **RESIZE)
    run("recipe evil.safetensors")
    assert "\x1b" not in capsys.readouterr().out


def test_arguments_are_quoted_for_a_shell():
    assert quoted("a b") == "'a b'" and quoted("a") == "a"
    assert quoted("a\n\x1b'b") == "$'a\\n\\x1b\\'b'"


def test_the_alias_is_the_name_of_the_file(folder):
    told = {"ss_output_name": "old", "ss_network_dim": "4"}
    save(lora_file(["lora_unet_x"], KOHYA, alpha=4.0), folder / "k.safetensors", told)
    run("resize k.safetensors --rank 2 -o new.safetensors")
    assert A1111("new.safetensors").alias == "new"
    assert A1111("new.safetensors").hash == addnet_hash("new.safetensors")
