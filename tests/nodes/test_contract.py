"""What saved workflows depend on never changes, and what people read is complete."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .schemas import contract, every_input, words

CONTRACT = Path(__file__).with_name("contract.json")


def test_saved_workflows_keep_working(nodes: dict[str, Any]) -> None:
    """Node ids, inputs, their types, order, defaults and choices, outputs: append, never change.

    After appending, `python -m tests.pin_contracts` writes contract.json.
    """
    now = {name: contract(node) for name, node in nodes.items()}
    assert now == json.loads(CONTRACT.read_text()), json.dumps(now, indent=1)


def test_everything_is_explained(nodes: dict[str, Any]) -> None:
    for name, node in nodes.items():
        schema = node.GET_SCHEMA()
        assert re.fullmatch(r"LoraAlloy[A-Za-z]+", schema.node_id) and schema.category
        assert len(schema.description) > 40 and schema.search_aliases[0] == "lora alloy"
        for path, kind, options in every_input(node):
            assert len(options.get("tooltip", "")) > 15, f"{name}.{path}"
            if kind in ("INT", "FLOAT"):
                assert options["min"] <= options["default"] <= options["max"], f"{name}.{path}"
        for output in schema.outputs:
            assert len(output.tooltip) > 15, f"{name}.{output.id}"


WANTED = {
    "convert lora": "Convert", "lora stack": "Blend", "merge lora": "Blend",
    "lora strength": "Blocks", "lora block sliders": "Blocks", "shrink lora": "RankResize",
    "split lora": "Select", "find duplicate lora": "Find",
}  # fmt: skip


def test_nodes_are_found_by_what_people_type(nodes: dict[str, Any]) -> None:
    """By these words, and in Chinese by some for every node."""
    for typed, name in WANTED.items():
        assert typed in nodes[f"LoraAlloy{name}"].GET_SCHEMA().search_aliases, typed
    for name, node in nodes.items():
        aliases = node.GET_SCHEMA().search_aliases
        assert sum(not alias.isascii() for alias in aliases) >= 2, name
        assert len(set(aliases)) == len(aliases), name


ADVANCED = {
    "LoraAlloyLoad": {"drop_magnitude", "scale_from_metadata"},
    "LoraAlloyBlend": {
        "min_rank", "max_rank", "block_weights", "method", "balance", "auto_strength",
        "drop_near_zero", "truncation",
        "seed", "compute_device", "compute_dtype", "output_dtype", "spelling",
    },
    "LoraAlloyRankResize": {
        "min_rank", "max_rank", "compute_device", "compute_dtype", "output_dtype", "spelling",
        "theme",
    },
    "LoraAlloyLayerAnalysis": {"top_singular_values", "compute_device", "compute_dtype", "theme"},
    "LoraAlloyTopBlocks": {"always", "compute_device", "theme"},
    "LoraAlloyCompare": {"compute_device", "compute_dtype", "theme"},
    "LoraAlloyFind": {"compute_device"},
    "LoraAlloySave": {"keep_metadata", "metadata", "verify"},
    "LoraAlloyExtract": {
        "min_rank", "max_rank", "method", "vectors", "compute_device", "output_dtype", "spelling",
        "theme",
    },
    "LoraAlloyBlocks": {"compute_device", "compute_dtype", "output_dtype", "spelling"},
}  # fmt: skip


def test_rare_options_are_folded_away(nodes: dict[str, Any]) -> None:
    for name, node in nodes.items():
        advanced = ADVANCED.get(name, set())
        for path, _, options in every_input(node):
            # What a choice shows is folded away with it.
            folded = path.split(".")[0] in advanced
            assert bool(options.get("advanced")) == folded, f"{name}.{path}"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_translations_fit_the_schema(nodes: dict[str, Any], language: str) -> None:
    text = (CONTRACT.parents[2] / f"locales/{language}/nodeDefs.json").read_text("ascii")
    definitions = json.loads(text)
    assert definitions.keys() == nodes.keys()
    for name, node in nodes.items():
        translated, own = definitions[name], words(node)
        if language == "en":
            assert translated == own, "python -m tests.pin_contracts writes them"
        for part in ("inputs", "outputs"):
            assert translated[part].keys() == own[part].keys(), f"{name}.{part}"
            assert all(item["name"] and item["tooltip"] for item in translated[part].values())
        assert translated["display_name"] and translated["description"]


def test_every_node_has_a_help_page(nodes: dict[str, Any]) -> None:
    folder = CONTRACT.parents[2] / "web/docs"
    assert {path.stem for path in folder.glob("*.md")} == nodes.keys()
    for name, node in nodes.items():
        page = (folder / f"{name}.md").read_text("ascii")
        for heading in ("## When to use it", "## Inputs", "## Outputs", "## Reading the result",
                        "## A typical graph"):  # fmt: skip
            assert heading in page, f"{name}: {heading}"
        # A table ends at a blank line: rows after it would be shown as they are typed.
        for block in (block for block in page.split("\n\n") if block.startswith("|")):
            assert block.splitlines()[1].startswith("|---"), f"{name}: {block}"
        schema = node.GET_SCHEMA()
        chinese = (folder / name / "zh.md").read_text("utf-8")
        for item in [*schema.inputs, *schema.outputs]:
            assert f"`{item.id}`" in page and f"`{item.id}`" in chinese, f"{name}: {item.id}"
        assert chinese.count("\n## ") == 5 and chinese.count("|---|---|") == 2, name
