"""The page as the harness drives it, proven with ComfyUI's own nodes only."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests.comfyui.browser import Page
from tests.comfyui.harness import ComfyUIError, Server

WORKFLOW = {
    "last_node_id": 2,
    "last_link_id": 1,
    "nodes": [
        {
            "id": 1, "type": "EmptyImage", "pos": [0, 0], "size": [240, 160],
            "flags": {}, "order": 0, "mode": 0, "properties": {"cnr_id": "comfy-core"},
            "inputs": [], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
            "widgets_values": [64, 64, 1, 0x3366CC],
        },
        {
            "id": 2, "type": "SaveImage", "pos": [320, 0], "size": [240, 260],
            "flags": {}, "order": 1, "mode": 0, "properties": {"cnr_id": "comfy-core"},
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "outputs": [],
            "widgets_values": ["page"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    "groups": [], "config": {}, "extra": {}, "version": 0.4,
}  # fmt: skip


def test_a_workflow_opens_runs_and_shows_its_image(
    comfyui: Server, page: Page, tmp_path: Path
) -> None:
    assert page.load(WORKFLOW) == []
    run = page.run()
    (image,) = comfyui.files(comfyui.get(f"/history/{run}")[run])
    assert image.name.startswith("page_")
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert page.errors == []


def test_a_missing_node_is_named(page: Page) -> None:
    workflow = copy.deepcopy(WORKFLOW)
    workflow["nodes"][0]["type"] = "NotInstalled"
    assert page.load(workflow) == ["NotInstalled"]


def test_a_refused_workflow_says_why(page: Page) -> None:
    workflow = copy.deepcopy(WORKFLOW)
    workflow["links"] = []
    workflow["nodes"][1]["inputs"][0]["link"] = None
    page.load(workflow)
    with pytest.raises(ComfyUIError, match="Required input is missing"):
        page.run()
    assert page.errors
