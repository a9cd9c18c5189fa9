"""What the documents tell people to type is what the programs take: commands, options, defaults."""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli import front
from core.cli.catalogue import SUMMARIES, module_of, parsers
from core.cli.main import main, parsed

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "core/samples"
DOCUMENTS = [
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("web/docs/*.md"))
    if path.name not in ("CHANGELOG.md", "record-of-tests.md")  # of old versions, of other programs
]
QUESTIONS = ROOT / "docs/questions.md"
OTHERS = {"--disable-metadata"}  # of ComfyUI

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
OPTIONS = {name: set(parser._option_string_actions) for name, parser in parsers()}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").replace("\\\n", " ")


def commands(path: Path) -> list[list[str]]:
    """The arguments of every command line of ours in the document's code blocks."""
    lines = re.findall(r"^ {4,}(?:lora-alloy|python -m core) (.+)$", text_of(path), re.M)
    return [shlex.split(line, comments=True) for line in lines]


@each_document
def test_every_command_line_is_one_that_the_program_takes(path):
    for arguments in commands(path):
        if arguments != ["COMMAND", "--help"]:
            parsed(arguments)


@each_document
def test_every_option_that_is_named_exists(path):
    for code in re.findall(r"`([^`\n]+)`", text_of(path)):
        words = code.removeprefix("lora-alloy ").split()
        known = OPTIONS.get(words[0], set().union(*OPTIONS.values()) | OTHERS | {"--version"})
        if code.startswith("lora-alloy ") and words[0] != "COMMAND":
            assert words[0] in {*OPTIONS, "--version"}, code
        if words[0] in OPTIONS or words[0].startswith("--"):
            named = {word.split("=")[0].rstrip(",.:;") for word in words if word.startswith("--")}
            assert named <= known, code


@pytest.fixture
def samples(tmp_path, monkeypatch):
    """A folder with the files that the documents speak of."""
    for name in ("style_diffusers", "character_kohya"):
        short = name.split("_")[0] + ".safetensors"
        shutil.copyfile(SAMPLES / f"{name}.safetensors", tmp_path / short)
    dora = ROOT / "tests/data/adapters/locon_dora.safetensors"
    shutil.copyfile(dora, tmp_path / "dora.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_answers_works(samples, capsys):
    lines = [arguments for arguments in commands(QUESTIONS) if arguments != ["demo"]]
    assert len(lines) > 15
    for arguments in lines:
        # They are alternatives: some have the same output.
        force = ["--force"] if "-o" in arguments else []
        assert main([*arguments, *force]) == 0, (arguments, capsys.readouterr().err)


@pytest.mark.slow
def test_the_figures_of_the_answers_are_those_of_the_samples(samples, capsys):
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) % \|$", text_of(QUESTIONS), re.M)
    assert len(rows) == 4
    blend = [
        "blend",
        "style.safetensors",
        "character.safetensors",
        "-o",
        "x.safetensors",
        "--force",
    ]
    for rank, error, kept in rows:
        main([*blend, "--rank", rank, "--json"])
        report = json.loads(capsys.readouterr().out)
        assert report["relative_error"] == pytest.approx(float(error), rel=0.01)
        assert report["retained_energy"] * 100 == pytest.approx(float(kept), rel=0.001)
    main(blend)
    said = re.search(r"`(\d+ modules in both files.*?)`", text_of(QUESTIONS))[1]
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_the_answers_about_fights_are_what_compare_says(samples, capsys):
    main(["compare", "style.safetensors", "character.safetensors", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["text"][0] in text_of(QUESTIONS)
    highest = max(abs(block["cosine"]) for block in report["blocks"])
    assert f"no block has more than {highest:.3f}" in text_of(QUESTIONS)
    blend = "blend style.safetensors character.safetensors --weights 0.8 0.6 --rank full"
    main([*blend.split(), "-o", "both.safetensors"])
    capsys.readouterr()
    main(["compare", "style.safetensors", "both.safetensors", "--json"])
    assert json.loads(capsys.readouterr().out)["text"][0] in text_of(QUESTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("path", [ROOT / "README.md", QUESTIONS], ids=lambda path: path.name)
def test_python_examples_run(path, samples):
    (code,) = re.findall(r"^    from core import .*\n(?:(?: {4}.*)?\n)+", text_of(path), re.M)
    code = re.sub(r"^    ", "", code, flags=re.M)
    program = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    result = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "relative error" in result.stdout


def explained() -> list:
    return [
        pytest.param(action, id=f"{command} {'/'.join(action.option_strings) or action.dest}")
        for command, parser in parsers()
        for action in parser._actions
    ]


@pytest.mark.parametrize("action", explained())
def test_help_explains_every_option_and_knows_its_default(action):
    assert action.help, "no help"
    said = re.search(r"default:? (?:\./)?([^);,]+)", action.help)
    if said is None or said[1] in ("as in A", "no limit"):
        assert action.default in (None, False, "", "match", argparse.SUPPRESS) or said is None
        return
    default = action.default
    if isinstance(default, list):
        assert {float(one) for one in said[1].split()} == set(default)
    else:
        assert said[1] == f"{default:g}" if isinstance(default, float) else str(default)


def examples() -> list:
    """Every command line of every --help, in its order: some use what others make."""
    found = []
    for command in ("front", *SUMMARIES):
        text = front.EXAMPLES if command == "front" else getattr(module_of(command), "EXAMPLES", "")
        lines = re.findall(r"^ +lora-alloy (.*)$", text.replace("\\\n", " "), re.M)
        found.append(pytest.param(command, lines, id=command))
    return found


# These ask for files that are no LoRAs, or for a shell.
ELSEWHERE = {"extract", "apply", "completion"}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "lines"), examples())
def test_every_example_of_the_help_works(command, lines, samples, capsys):
    assert lines or command == "families", command
    (samples / "loras").mkdir()
    for name in ("style", "character"):
        shutil.copyfile(samples / f"{name}.safetensors", samples / f"loras/{name}.safetensors")
    (samples / "grid").mkdir()
    recipe = '[inputs]\na = "style.safetensors"\n[steps.small]\ncommand = "resize"\n'
    recipe += 'inputs = "a"\nrank = 2\noutput = "small_step.safetensors"\n'
    (samples / "recipe.toml").write_text(recipe)
    both = "blend style.safetensors character.safetensors --weights 0.8 0.6 --rank full -o"
    assert main([*both.split(), "both.safetensors"]) == 0
    for line in lines if command not in ELSEWHERE else []:
        words = shlex.split(line)
        force = ["--force"] if {"-o", "--csv", "--chart", "--trainer-output"} & set(words) else []
        assert main([*words, *force]) == 0, (line, capsys.readouterr().err)
