"""Completion: what is offered at the tab key, in bash by bash itself.

Also of commands/completion.py: it writes the texts.
"""

import shutil
import subprocess

import pytest

from core.cli.catalogue import ALIASES, SUMMARIES, parsers
from core.cli.main import main


def script(shell, capsys):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    "typed, offered",
    [
        ("bl", "blend"),
        ("blend a --trunc", "--truncation"),
        ("blend a --truncation ", "svd pca"),
        ("merge a --truncation p", "pca"),
        ("blend a --truncation svd --ener", "--energy"),
        ("--color never res", "resize"),
        ("resize a.saf", ""),  # bash's own: names of files
    ],
)
def test_bash_offers(capsys, tmp_path, typed, offered):
    words = ["lora-alloy", *typed.split(" ")]
    (tmp_path / "words").write_text(script("bash", capsys))
    line = " ".join(f"'{word}'" for word in words)
    code = f"source words; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _lora_alloy"
    code += "; echo ${COMPREPLY[@]}"
    run = ["bash", "-c", code]
    result = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.stdout.strip(), result.stderr) == (offered, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_every_command_and_option_is_in_the_text(shell, capsys):
    text = script(shell, capsys)
    assert {*SUMMARIES, *ALIASES} <= set(text.replace("'", " ").replace(")", " ").split()) or (
        shell in ("bash", "zsh") and all(word in text for word in (*SUMMARIES, *ALIASES))
    )
    for _, parser in parsers():
        for option in parser._option_string_actions:
            word = option.lstrip("-") if shell == "fish" else option
            assert word in text, option
