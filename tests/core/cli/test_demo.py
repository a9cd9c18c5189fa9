"""The tour: it runs every command.

Also of commands/demo.py: what they do.
"""

import pytest

from core.cli.main import main
from tests.helpers import files_in


@pytest.mark.slow
def test_the_demo_runs_every_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--output-dir", "tour"]) == 0
    text = capsys.readouterr().out
    for command in (
        *("info", "compare", "blend", "verify", "resize", "analyze", "top-blocks", "select"),
        "convert",
    ):
        assert f"$ lora-alloy {command}" in text
    assert not [name for name in files_in(tmp_path) if name.endswith(".part")]
    assert {"tour/blend.safetensors", "tour/blocks.png"} <= set(files_in(tmp_path))
    assert text.splitlines()[-1].endswith("the picture is tour/blocks.png")
