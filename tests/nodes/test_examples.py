"""The example workflows against the nodes' own schema: a stored workflow cannot drift from it."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from core.version import version

from .schemas import inputs_of

PACK = Path(__file__).parents[2]
WORKFLOWS = sorted((PACK / "example_workflows").glob("*.json"))
WIDGETS = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool, "COMBO": str,
           "COMFY_DYNAMICCOMBO_V3": str}  # fmt: skip

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("ascii"))


def test_every_node_is_in_one() -> None:
    contract = json.loads((PACK / "tests/nodes/contract.json").read_text())
    used = {node["type"] for path in WORKFLOWS for node in read(path)["nodes"]}
    assert contract.keys() == used & contract.keys()


@each_workflow
def test_the_file_is_one_that_the_page_and_the_manager_understand(path: Path) -> None:
    workflow, text = read(path), path.read_text()
    assert workflow["version"] == 0.4
    picture = path.with_suffix(".jpg").read_bytes()
    assert picture[:2] == b"\xff\xd8" and 20_000 < len(picture) < 600_000
    assert not re.search(r"/(home|root|tmp|Users)/|[A-Z]:\\\\", text)
    files = set()
    for node in workflow["nodes"]:
        ours = node["type"].startswith("LoraAlloy")
        if node["type"] != "MarkdownNote":
            assert node["properties"]["cnr_id"] == ("lora-alloy" if ours else "comfy-core")
            assert re.fullmatch(r"\d+\.\d+\.\d+", node["properties"]["ver"])
        if ours:
            assert node["properties"]["ver"] == version()
        values = [v for v in node.get("widgets_values") or [] if isinstance(v, str)]
        models = node["properties"].get("models", [])
        written = [] if node["type"] == "MarkdownNote" else values
        named = {file for v in written for file in re.findall(r"[\w.-]+\.safetensors", v)}
        assert named == {model["name"] for model in models}, node["type"]
        for model in models:
            files.add(model["name"])
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith("/" + model["name"]) and "/resolve/" in model["url"]
            assert model["directory"] in {
                "checkpoints", "diffusion_models", "text_encoders", "vae", "loras",
            }  # fmt: skip
    assert files


@each_workflow
def test_links_and_nodes_agree(path: Path) -> None:
    workflow = read(path)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert workflow["last_node_id"] == max(nodes)
    seen = set()
    for number, source, output, target, slot, kind in workflow["links"]:
        seen.add(number)
        given, taken = nodes[source]["outputs"][output], nodes[target]["inputs"][slot]
        assert number in given["links"] and taken["link"] == number
        assert given["type"] == kind and taken["type"] in (kind, "*")
    linked = {
        slot["link"]
        for node in nodes.values()
        for slot in node.get("inputs", [])
        if slot.get("link") is not None
    }
    assert linked == seen


Box = tuple[float, float, float, float]  # left, top, right, bottom


def apart(one: Box, two: Box) -> bool:
    return one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]


def within(one: Box, two: Box) -> bool:
    return two[0] <= one[0] and two[1] <= one[1] and one[2] <= two[2] and one[3] <= two[3]


@each_workflow
def test_nothing_covers_anything(path: Path) -> None:
    workflow = read(path)
    nodes: dict[str, Box] = {}
    for node in workflow["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        nodes[f"{node['type']} {node['id']}"] = (x, y - 30, x + width, y + height)  # 30: its title
    groups: dict[str, Box] = {}
    for group in workflow["groups"]:
        x, y, width, height = group["bounding"]
        groups[group["title"]] = (x, y, x + width, y + height)
    assert groups
    for boxes in (nodes, groups):
        for (name, one), (other, two) in combinations(boxes.items(), 2):
            assert apart(one, two), f"{name}, {other}"
    for title, outer in groups.items():
        inside = [name for name, box in nodes.items() if within(box, outer)]
        assert inside, title
        for name, box in nodes.items():
            assert name in inside or apart(box, outer), f"{name}, {title}"


@each_workflow
def test_it_opens_where_all_of_it_can_be_seen_and_read(path: Path) -> None:
    """In a window of 1600 x 900, of which the page's bars take a part, at 70 % or more."""
    workflow = read(path)
    nodes = [(*node["pos"], *node["size"]) for node in workflow["nodes"]]
    boxes = [(x, y - 30, w, h + 30) for x, y, w, h in nodes]  # 30: its title
    boxes += [tuple(group["bounding"]) for group in workflow["groups"]]
    view = workflow["extra"]["ds"]
    scale, (x, y) = view["scale"], view["offset"]
    assert 0.7 <= scale <= 1
    for left, top, width, height in boxes:
        assert (left + x) * scale >= 60 and (top + y) * scale >= 40
        assert (left + width + x) * scale <= 1590 and (top + height + y) * scale <= 890


@each_workflow
def test_our_nodes_fit_their_schema(path: Path, nodes: dict[str, Any]) -> None:
    for node in read(path)["nodes"]:
        if node["type"] not in nodes:
            assert not node["type"].startswith("LoraAlloy")
            continue
        where = f"{path.stem}: {node['type']} {node['id']}"
        definition = nodes[node["type"]]
        inputs = inputs_of(definition)
        values = list(node["widgets_values"])
        for name, (kind, options, _) in inputs.items():
            if kind in WIDGETS:
                check_value(f"{where}.{name}", kind, options, values.pop(0))
            if kind == "COMFY_DYNAMICCOMBO_V3":
                chosen = node["widgets_values"][-len(values) - 1]
                (choice,) = (c for c in options["options"] if c["key"] == chosen)
                for nested, (kind, inner) in choice["inputs"]["required"].items():
                    check_value(f"{where}.{name}.{nested}", kind, inner, values.pop(0))
        assert values == [], where

        sockets = {slot["name"]: slot for slot in node["inputs"]}
        for name, (kind, options, optional) in inputs.items():
            if kind == "COMFY_AUTOGROW_V3":
                check_autogrow(f"{where}.{name}", name, options["template"], sockets)
                continue
            if optional and name not in sockets:
                continue  # It came later: the page adds it.
            assert sockets[name]["type"] == kind, f"{where}.{name}"
            if kind not in WIDGETS and not optional:
                assert sockets[name]["link"] is not None, f"{where}.{name}"
        outputs = [(slot["name"], slot["type"]) for slot in node["outputs"]]
        schema = definition.GET_SCHEMA()
        assert outputs == [(output.display_name, output.io_type) for output in schema.outputs]


def check_autogrow(
    where: str, name: str, template: dict[str, Any], sockets: dict[str, Any]
) -> None:
    """The stored sockets are the first of the template's, all connected but the last."""
    ((kind, _),) = template["input"]["required"].values()
    grown = [slot for key, slot in sockets.items() if key.startswith(f"{name}.")]
    names = [f"{name}.{one}" for one in template["names"][: len(grown)]]
    assert [slot["name"] for slot in grown] == names != [], where
    assert all(slot["type"] == kind for slot in grown), where
    assert [slot["link"] is None for slot in grown] == [False] * (len(grown) - 1) + [True], where


def check_value(where: str, kind: str, options: dict[str, Any], value: Any) -> None:
    """A stored widget value is one that the page would let the user choose."""
    assert isinstance(value, WIDGETS[kind]), f"{where}: {value!r}"
    if kind in ("INT", "FLOAT"):
        assert options["min"] <= value <= options["max"], f"{where}: {value}"
    elif where.endswith("compute_device"):
        assert value in ("auto", "cpu"), where
    elif kind == "COMFY_DYNAMICCOMBO_V3":
        assert value in [choice["key"] for choice in options["options"]], f"{where}: {value}"
    elif kind == "COMBO" and not where.endswith("lora_name"):
        assert value in options["options"], f"{where}: {value}"
