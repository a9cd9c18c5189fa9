"""The command line when something is wrong: exit status, one line that says what, and help.

Also of options.py, computing.py, printing.py, catalogue.py, front.py, logs.py: what commands share.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli.main import main, terminable
from tests.helpers import KOHYA, files_in, lora_file, save
from tests.marks import one_in

ROOT = Path(__file__).parents[3]

NAMES = ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save(lora_file(NAMES, seed=1), tmp_path / "a.safetensors")
    save(lora_file(NAMES, KOHYA, alpha=2.0, seed=2), tmp_path / "b.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cli(text: str, *more: str) -> int:
    """`A` and `B` in the text stand for the two files, `O` for the output."""
    names = {"A": "a.safetensors", "B": "b.safetensors", "O": "o.safetensors"}
    return main([names.get(word, word) for word in text.split()] + list(more))


ERRORS = {
    "blend missing.safetensors B -o O": "missing.safetensors",
    "blend A B --layers nothing -o O": "nothing",
    "blend A B --rank 0 -o O": "a rank is a whole number",
    "blend A B --weights nan 1 -o O": "weights",
    "blend A B --balance softmax --temperature 0 -o O": "temperature",
    "blend A B --device cuda:77 -o O": "cuda:77",
    "blend A B -o A": "one of the inputs",
    "blend A B -o missing/o.safetensors": "missing",
    "blend A A --weights 1 -1 -o O": "removed every module",
    "resize A --energy 2 -o O": "energy",
    "resize A --rank 2 --max-rank 1 --min-rank 2 -o O": "maximum rank",
    "resize A --megabytes 0.0001 -o O": "budget",
    "select A --layers * -o O --rest R.safetensors": "no rest to write",
    "info nothing*": "no file is called like that",
}


@pytest.mark.parametrize("text", ERRORS)
@pytest.mark.parametrize("more", one_in(2, [[], ["--json"]]), ids=["", "json"])
def test_an_error_is_one_line_with_status_1(folder, capsys, text, more):
    before = files_in(folder)
    assert cli(text, *more) == 1
    printed = capsys.readouterr()
    assert ERRORS[text] in printed.err
    if more:
        told = json.loads(printed.out)["error"]
        assert told["problem"] in printed.err and told["fix"] in printed.err
    else:
        assert printed.out == ""
    assert printed.err.startswith("lora-alloy: ") and printed.err.count("\n") == 1
    assert "; " in printed.err.replace("; \n", "")  # The way out stands behind it.
    assert files_in(folder) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "brew A",
        "blend A B",
        "blend",
        "blend A B --rank many -o O",
        "blend A B --method magic -o O",
        "blend A B --balance odd -o O",
        "resize A -o O",
        "resize A --rank 2 --knee -o O",
        "resize A --rank 1.5 -o O",
        "resize A --rank 2",
        "blend A --weights 0.5 2 -o O",
        "blend A B --weights 1 2 3 -o O",
        "verify A --inputs A B B --weights 1 2",
        "select A -o O",
        "verify",
        "convert A --spelling morse -o O",
        "info",
    ],
)
def test_wrong_usage_has_status_2(folder, capsys, text):
    with pytest.raises(SystemExit) as caught:
        cli(text)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err and len(files_in(folder)) == 2


@pytest.mark.parametrize(
    "command", ["", "info", "blend", "resize", "select", "convert", "verify", "demo"]
)
def test_help_is_there_for_every_command(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: lora-alloy") and len(text) > 200


def test_a_name_with_a_null_character_is_an_error_of_one_line(folder, capsys):
    for arguments in (
        ["info", "a\0b"],
        ["resize", "a.safetensors", "--rank", "2", "-o", "a\0b.safetensors"],
    ):
        assert main(arguments) == 1
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["", "json"])
def test_output_that_cannot_be_shown_is_an_error(folder, capsys, monkeypatch, more):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["info", "a.safetensors", *more]) == 1
    assert "cannot be shown" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_that_end_a_program_end_it_cleanly(name):
    if not hasattr(signal, name):
        pytest.skip(f"this system has no {name}")
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # These tests may run under `nohup`.
    try:
        with pytest.raises(KeyboardInterrupt), terminable():
            signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)  # As `nohup` does.
        with terminable():
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


@pytest.mark.slow
def test_python_m_core_is_the_command_line(folder):
    run = [sys.executable, "-m", "core", "info", str(folder / "gone")]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("lora-alloy: ") and "Traceback" not in result.stderr


@pytest.mark.slow
def test_what_needs_no_arithmetic_imports_no_torch():
    code = (
        "import contextlib, io, sys\nfrom core.cli.main import main\n"
        "style = 'core/samples/style_diffusers.safetensors'\n"
        "for words in (['--help'], ['blend', '--wrong'], ['info', style, '--json'],"
        " ['info', style], ['metadata', style]):\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()),"
        " contextlib.redirect_stderr(io.StringIO()):\n"
        "        main(words)\n"
        "    print(words[0], {'torch', 'pandas'} & set(sys.modules))\n"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    lines = result.stdout.splitlines()
    assert len(lines) == 5 and all(line.endswith("set()") for line in lines), result.stdout


def test_a_log_has_what_was_said_and_how_it_ended(folder, capsys):
    assert cli("info A --log log.txt") == 0
    assert cli("--log log.txt info missing") == 1
    said = capsys.readouterr().out
    text = (folder / "log.txt").read_text()
    assert said in text and "info A --log" not in text
    assert "info a.safetensors --log log.txt" in text
    assert "FileError: missing: no such file" in text and text.count("after 0.") == 2


def test_quiet_says_errors_only(folder, capsys):
    assert cli("-q info A") == 0 and cli("blend A B -o O -q") == 0
    assert capsys.readouterr() == ("", "")
    assert cli("info missing -q") == 1
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, environment, coloured",
    [([], {}, False), (["--color", "always"], {}, True), (["--color", "never"], {}, False)],
)
def test_colour_is_for_terminals_unless_asked_for(folder, capsys, words, environment, coloured):
    assert cli("resize A --rank 1 --preview", *words) == 0
    assert ("\x1b[" in capsys.readouterr().out) == coloured


def test_version_says_what_computes(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert "torch" in capsys.readouterr().out
