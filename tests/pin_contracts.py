"""Writes the contracts anew, from the code as it is: `python -m tests.pin_contracts`.

Until a version is published names and defaults may still change; afterwards see CONTRIBUTING.md.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from core.cli.main import main
from tests.core import api
from tests.core.cli import test_contract as cli
from tests.nodes.conftest import comfy_api_missing, load_pack
from tests.nodes.schemas import contract, words

HERE = Path(__file__).parent


def write(path: str, content: Any, indent: int = 1) -> None:
    text = json.dumps(content, indent=indent) + "\n"
    (HERE.parent / path).write_text(text, encoding="ascii", newline="\n")
    print(f"{path}: written")


def pin_api() -> None:
    """The names that `core` offers, with arguments and defaults."""
    write("tests/core/api.json", api.described())


def pin_nodes() -> None:
    """Node ids, inputs, types, order, defaults, choices, outputs; and their English words.

    Needs ComfyUI.
    """
    if reason := comfy_api_missing():
        print(f"tests/nodes/contract.json: left as it is: {reason}")
        return
    nodes = {node.GET_SCHEMA().node_id: node for node in load_pack().NODES}
    write("tests/nodes/contract.json", {name: contract(node) for name, node in nodes.items()})
    write("locales/en/nodeDefs.json", {name: words(node) for name, node in nodes.items()}, 2)


def pin_commands() -> None:
    """Commands, options, and the keys of every --json."""
    options = cli.options()
    shapes = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        with contextlib.redirect_stdout(io.StringIO()):
            cli.write_files(Path())
        for command, arguments in cli.JSON_COMMANDS.items():
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                assert main([*arguments.split(), "--json"]) == 0, arguments
            shapes[command] = cli.keys(json.loads(out.getvalue()))
    write("tests/core/contract.json", {"options": options, "json": shapes})


if __name__ == "__main__":
    pin_commands()
    pin_api()
    pin_nodes()
