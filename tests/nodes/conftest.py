"""The nodes as plain Python: their schemas and `execute`, without a server.

That needs ComfyUI's `comfy_api`. It is looked for where this Python finds it, then in the ComfyUI
that the server tests use together with its venv, when that has the same Python. Where it cannot be
imported these tests are skipped, all for one reason.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.comfyui.harness import NoComfyUI, find_comfyui

PACK = Path(__file__).parents[2]


@cache
def comfy_api_missing() -> str:
    """Make `comfy_api` importable and return "", or say why that is not possible."""
    try:
        root, python = find_comfyui()
    except NoComfyUI as missing:
        return str(missing)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = python.parent.parent / "lib" / version / "site-packages"
    # At the end: this repository's own `core`, `nodes` and `tests` must stay in front.
    sys.path += [str(path) for path in (root, packages) if path.is_dir()]
    try:
        import comfy.cli_args

        comfy.cli_args.args.cpu = True  # there is no server that would find out
        import comfy_api.latest  # noqa: F401
        import folder_paths  # noqa: F401
    except ImportError as error:
        return f"ComfyUI's comfy_api cannot be imported by this Python: {error}"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Importing ComfyUI takes seconds: what needs it does not belong to the fast subset."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "pack" in item.fixturenames:
            item.add_marker("slow")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here. Skipped from one place, pytest reports it in one line."""
    if "pack" in getattr(item, "fixturenames", ()) and (reason := comfy_api_missing()):
        pytest.skip(reason)


def load_pack() -> ModuleType:
    """The pack's `nodes`, imported the way ComfyUI does it: as part of a package for its folder."""
    if "alloy_pack" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "alloy_pack", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["alloy_pack"] = module
        spec.loader.exec_module(module)
    return importlib.import_module("alloy_pack.nodes")


@pytest.fixture(scope="session")
def pack() -> ModuleType:
    return load_pack()


@pytest.fixture
def nodes(pack: ModuleType) -> dict[str, Any]:
    """The node classes by their ids."""
    return {node.GET_SCHEMA().node_id: node for node in pack.NODES}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ComfyUI's folders in a temporary place: loras/, output/, temp/."""
    import folder_paths

    for name in ("loras", "output", "temp"):
        (tmp_path / name).mkdir()
    extensions = folder_paths.folder_names_and_paths["loras"][1]
    paths = ([str(tmp_path / "loras"), str(tmp_path / "output/loras")], extensions)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", paths)
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    folder_paths.filename_list_cache.clear()
    return tmp_path
