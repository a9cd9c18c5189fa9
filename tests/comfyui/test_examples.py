"""The example workflows in the real page: they open, they run, nothing is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.comfyui.browser import Page
from tests.comfyui.conftest import PACK
from tests.comfyui.harness import Server
from tests.comfyui.stand_ins import with_tiny_models

WORKFLOWS = sorted((PACK / "example_workflows").glob("*.json"))


def settings(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """What the widgets of the nodes hold, by node; without what Preview as Text has shown."""
    return {
        str(node["id"]): node["widgets_values"]
        for node in nodes
        if node["type"] != "PreviewAny" and node.get("widgets_values")
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_an_example_opens_as_it_is_and_runs(comfyui: Server, page: Page, path: Path) -> None:
    workflow = json.loads(path.read_text())
    assert page.load(workflow) == []
    shown = page.evaluate("() => window.app.graph.nodes.map(n => n.serialize())")
    assert settings(shown) == settings(workflow["nodes"]) != {}
    assert page.errors == []

    assert page.load(with_tiny_models(workflow)) == []
    entry = comfyui.get(f"/history/{page.run()}")
    (entry,) = entry.values()
    assert entry["status"]["completed"]
    images = [file for file in comfyui.files(entry) if file.parent.name == "lora-alloy"]
    wanted = sum(node["type"] == "SaveImage" for node in workflow["nodes"])
    assert len(images) == wanted and all(image.is_file() for image in images)
    assert page.errors == []
