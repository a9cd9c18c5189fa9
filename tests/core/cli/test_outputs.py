"""What every command writes: whole or not, never over an input, an output or a file unasked."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from core.cli.main import main
from tests.helpers import files_in

SAMPLES = Path(__file__).parents[3] / "core" / "samples"
# What each command can write, as {option: ending}.
COMMANDS = {
    "blend A B": {"-o": ".safetensors"},
    "resize A --rank 2": {"-o": ".safetensors"},
    "select A --layers double_blocks": {"-o": ".safetensors", "--rest": ".safetensors"},
    "convert A --dtype fp16": {"-o": ".safetensors"},
    "analyze A": {"--csv": ".csv", "--chart": ".png"},
    "top-blocks A --threshold 0.4": {
        "-o": ".safetensors", "--rest": ".safetensors", "--chart": ".svg"
    },
}  # fmt: skip
OUTPUTS = [(command, option) for command, options in COMMANDS.items() for option in options]
each_output = pytest.mark.parametrize("command, option", OUTPUTS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copy(SAMPLES / "character_kohya.safetensors", tmp_path / "a.safetensors")
    shutil.copy(SAMPLES / "style_diffusers.safetensors", tmp_path / "b.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_is_computed(monkeypatch, request):
    """Refusals come before the work."""
    if "refused" in request.node.name:

        def late(*_, **__):
            raise AssertionError("computed before it was refused")

        monkeypatch.setattr("core.cli.computing.choose_device", late)


def contents(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


def run(command: str, **outputs: str) -> int:
    names = {"A": "a.safetensors", "B": "b.safetensors"}
    arguments = [names.get(word, word) for word in command.split()]
    for option, path in outputs.items():
        arguments += [option, path]
    return main(arguments)


def outputs_of(command: str, **other: str) -> dict[str, str]:
    """Every output of a command under a name of its own, but for `other`."""
    named = {o: f"out{i}{end}" for i, (o, end) in enumerate(COMMANDS[command].items())}
    return named | other


@each_output
@pytest.mark.parametrize("name", ["x.pt", "noext", ".safetensors.txt", "x.safetensors.tmp"])
def test_another_ending_is_refused(folder, capsys, command, option, name):
    before = contents(folder)
    assert run(command, **outputs_of(command, **{option: name})) == 1
    assert "what is written there is a" in capsys.readouterr().err
    assert contents(folder) == before


@each_output
def test_an_input_is_refused_also_through_a_link(folder, capsys, command, option):
    end = COMMANDS[command][option]
    (folder / f"soft{end}").symlink_to(folder / "a.safetensors")
    os.link(folder / "a.safetensors", folder / f"hard{end}")
    before = contents(folder)
    for name in (f"soft{end}", f"hard{end}"):
        for force in ("", " --force"):
            assert run(command + force, **outputs_of(command, **{option: name})) == 1
            assert "one of the inputs" in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.parametrize("command", [c for c, options in COMMANDS.items() if len(options) > 1])
def test_two_outputs_in_one_file_are_refused(folder, capsys, command):
    (first, end), (second, other) = list(COMMANDS[command].items())[:2]
    names = {first: f"x{end}", second: f"./x{end}"}
    if other != end:  # A link makes one file of two endings.
        (folder / f"y{other}").symlink_to(folder / f"x{end}")
        (folder / f"x{end}").write_bytes(b"old")
        names[second] = f"y{other}"
    before = contents(folder)
    assert run(command + " --force", **names) == 1
    assert "two outputs would be this file" in capsys.readouterr().err
    assert contents(folder) == before


@each_output
def test_a_file_that_is_there_is_refused_without_force(folder, capsys, command, option):
    names = outputs_of(command)
    (folder / names[option]).write_bytes(b"mine")
    before = contents(folder)
    assert run(command, **names) == 1
    assert "is there already" in (told := capsys.readouterr().err) and "--force" in told
    assert contents(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_force_replaces_what_is_there(folder, command):
    names = outputs_of(command)
    for name in names.values():
        (folder / name).write_bytes(b"mine")
    assert run(command + " --force", **names) == 0
    assert all((folder / name).read_bytes() != b"mine" for name in names.values())
    assert not [name for name in files_in(folder) if name.startswith(".")]


@pytest.mark.parametrize("answer, status", [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_a_person_at_a_terminal_is_asked(folder, capsys, monkeypatch, answer, status):
    (folder / "out.safetensors").write_bytes(b"mine")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdin, "readline", lambda: answer, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("convert A", **{"-o": "out.safetensors"}) == status
    assert "replace out.safetensors? [y/N]" in capsys.readouterr().err
    assert ((folder / "out.safetensors").read_bytes() == b"mine") == bool(status)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--csv", "--chart"])
def test_a_full_disk_leaves_the_old_table_and_picture(folder, monkeypatch, capsys, option):
    name = "out" + COMMANDS["analyze A"][option]
    (folder / name).write_bytes(b"mine")
    before = contents(folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.storage.atomic.AtomicFile.complete", full)
    assert run("analyze A --force", **{option: name}) == 1
    assert "free some disk space" in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.slow
def test_a_file_that_appears_during_the_run_stays(folder, monkeypatch, capsys):
    from core.storage.atomic import AtomicFile

    complete = AtomicFile.complete
    for named in (False, True):
        if named:
            monkeypatch.delattr(os, "O_TMPFILE", raising=False)
        out = folder / f"{named}.safetensors"

        def late(self, out=out):
            complete(self)
            out.write_bytes(b"another's")

        monkeypatch.setattr(AtomicFile, "complete", late)
        assert run("convert A", **{"-o": out.name}) == 1
        assert "is there already" in capsys.readouterr().err
        assert out.read_bytes() == b"another's"
    assert not [name for name in files_in(folder) if name.startswith(".")]


def test_the_demo_is_refused_where_it_would_replace_something(folder, capsys):
    (folder / "blend.safetensors").write_bytes(b"mine")
    before = contents(folder)
    assert main(["demo", "--output-dir", "."]) == 1
    assert "blend.safetensors: is there already" in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.parametrize("old", [None, b"old"], ids=["new", "over old files"])
@pytest.mark.parametrize("broken", [0, 1])
def test_of_two_parts_both_are_written_or_neither(folder, monkeypatch, capsys, old, broken):
    from core.storage.atomic import AtomicFile

    names = ["kept.safetensors", "rest.safetensors"]
    for name in names if old else ():
        (folder / name).write_bytes(old)
    before = contents(folder)
    place = AtomicFile._put_in_place

    def fail(self):
        if self.path.name == names[broken]:
            raise PermissionError(13, "Permission denied")
        place(self)

    monkeypatch.setattr(AtomicFile, "_put_in_place", fail)
    command = "select A --layers double_blocks --force"
    assert run(command, **{"-o": names[0], "--rest": names[1]}) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert contents(folder) == before
