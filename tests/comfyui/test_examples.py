"""The example workflows in the real page: they open, they run, nothing is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.comfyui.browser import Page
from tests.comfyui.conftest import PACK
from tests.comfyui.harness import Server
from tests.comfyui.stand_ins import with_tiny_models

WORKFLOWS = sorted((PACK / "example_workflows").glob("*.json"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_an_example_opens_as_it_is_and_runs(comfyui: Server, page: Page, path: Path) -> None:
    workflow = json.loads(path.read_text())
    assert page.load(workflow) == []
    stored = {str(node["id"]): node.get("widgets_values") for node in workflow["nodes"]}
    shown = page.evaluate(
        "() => window.app.graph.nodes.map(n => [n.id, n.serialize().widgets_values])"
    )
    # What Preview as Text stores is what it showed, in some versions and in others not.
    settings = {
        str(node["id"]) for node in workflow["nodes"]
        if node["type"] != "PreviewAny" and node.get("widgets_values")
    }  # fmt: skip
    assert settings
    assert {str(node): values for node, values in shown if str(node) in settings} == {
        node: values for node, values in stored.items() if node in settings
    }
    assert page.errors == []

    assert page.load(with_tiny_models(workflow)) == []
    entry = comfyui.get(f"/history/{page.run()}")
    (entry,) = entry.values()
    assert entry["status"]["completed"]
    images = [file for file in comfyui.files(entry) if file.parent.name == "lora-alloy"]
    wanted = sum(node["type"] == "SaveImage" for node in workflow["nodes"])
    assert len(images) == wanted and all(image.is_file() for image in images)
    assert page.errors == []
