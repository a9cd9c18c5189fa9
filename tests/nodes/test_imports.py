"""The borders between the floors, read from the sources."""

from __future__ import annotations

import ast
import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

PACK = Path(__file__).parents[2]
COMFYUI = {"comfy", "folder_paths", "comfy_execution", "server", "execution", "nodes"}


def imported(path: Path, top_level: bool = False) -> set[str]:
    """The packages that a file imports by absolute name; with top_level, when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_one_file_knows_comfyui() -> None:
    knowing = {path.name for path in (PACK / "nodes").glob("*.py") if imported(path) & COMFYUI}
    assert knowing == {"comfy_bridge.py"}
    for path in (PACK / "core").rglob("*.py"):
        assert not imported(path) & (COMFYUI | {"comfy_api"}), path


def test_nothing_heavy_is_imported_with_the_pack() -> None:
    for path in [PACK / "__init__.py", *(PACK / "nodes").glob("*.py")]:
        assert not imported(path, top_level=True) & {"pandas", "matplotlib", "tqdm"}, path
    assert imported(PACK / "__init__.py", top_level=True) <= {"logging", "typing"}


def load(pack: ModuleType) -> None:
    """Load the pack as ComfyUI does; in a thread: tests of the page leave a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, pack.comfy_entrypoint()).result()


def test_what_is_missing_is_said_at_the_start(
    pack: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load(pack)
    assert not caplog.messages
    monkeypatch.setattr(pack, "find_spec", lambda name: None if name == "pandas" else name)
    load(pack)
    (message,) = caplog.messages
    assert message.startswith("LoRA Alloy needs pandas: run ")
    assert message.endswith(f'-m pip install -r "{PACK / "requirements.txt"}"')
