"""What help pages and documents say of the nodes is what the nodes are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .schemas import every_input

ROOT = Path(__file__).parents[2]


def section(page: str, title: str) -> str:
    """The part of a page below a heading, up to the next of the same level."""
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table(text: str) -> list[str]:
    """What stands in backticks in the first column of the first table."""
    rows = re.search(r"^\|.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", text, re.M)[1]
    return [name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_help_lists_the_inputs_and_outputs_in_order(nodes: dict[str, Any]) -> None:
    for name, node in nodes.items():
        page, schema = (ROOT / f"web/docs/{name}.md").read_text("ascii"), node.GET_SCHEMA()
        for title, items in (("Inputs", schema.inputs), ("Outputs", schema.outputs)):
            assert table(section(page, title)) == [item.id for item in items], f"{name}: {title}"


def test_help_names_no_input_that_is_not_there(nodes: dict[str, Any]) -> None:
    """Names with an underscore in backticks are inputs, outputs, or what the reader gets to see."""
    known = {"lora_alloy"}  # the metadata's entry
    for node in nodes.values():
        known |= {part for path, _, _ in every_input(node) for part in path.split(".")}
        known |= {output.id for output in node.GET_SCHEMA().outputs}
    columns = set(re.findall(r"`(\w+)`", (ROOT / "docs/reading-an-analysis.md").read_text()))
    for path in (*ROOT.glob("web/docs/*.md"), ROOT / "docs/questions.md"):
        words = set(re.findall(r"`(\w+_\w+)`", path.read_text("ascii")))
        assert words <= known | columns | {"to_q", "to_k", "to_v"}, path.name


@pytest.mark.parametrize("document", ["README.md", "docs/questions.md"])
def test_documents_call_nodes_and_templates_by_their_names(
    nodes: dict[str, Any], document: str
) -> None:
    text = re.sub(r"\s+", " ", (ROOT / document).read_text("ascii"))
    titles = {node.GET_SCHEMA().display_name for node in nodes.values()}
    if document == "README.md":
        rows = (ROOT / document).read_text("ascii").split("| node | what it does |")[1]
        assert set(re.findall(r"^\| \*\*(.+?)\*\* \|", rows, re.M)) == titles
    templates = {path.stem for path in (ROOT / "example_workflows").glob("*.json")}
    assert set(re.findall(r"template \*(.+?)\*", text)) <= templates
    for step in re.findall(
        r"(?:LoRA Alloy|Load LoRA for|LoRA Bl|LoRA Ra|LoRA La|Top Bl)[\w ]*", text
    ):
        if not step.startswith("LoRA Alloy"):
            assert any(step.startswith(title) for title in titles), step
