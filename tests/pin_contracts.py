"""Writes the contracts anew, from the code as it is: `python -m tests.pin_contracts`.

Until a version is published names and defaults may still change; afterwards see CONTRIBUTING.md.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path

import torch

from core.cli.main import main
from tests.core.cli import test_contract as cli
from tests.helpers import KOHYA, flux_file, lora, save

CORE = Path(__file__).parent / "core" / "contract.json"


def pin_commands() -> None:
    """Commands, options, and the keys of every --json."""
    options = {
        command: [cli.option(a) for a in parser._actions if a.dest != "help"]
        for command, parser in cli.commands().items()
    }
    shapes = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        save(flux_file("kohya") | {"odd": torch.ones(2)}, Path("A"), {"title": "x"})
        save(flux_file("diffusers", seed=1) | lora("x.y", pair=KOHYA, alpha=1), Path("B"))
        for command, arguments in cli.JSON_COMMANDS.items():
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                assert main([*arguments.split(), "--json"]) == 0, arguments
            shapes[command] = cli.keys(json.loads(out.getvalue()))
    contract = {"options": options, "json": shapes}
    CORE.write_text(json.dumps(contract, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    pin_commands()
