"""What the page shows as tables: every module once, groups that add up, text that stays text."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
import torch

from .running import EXACT, defaults, lora


def shown(node: Any, **given: Any) -> dict[str, Any]:
    with torch.inference_mode():
        output = node.execute(**(defaults(node) | given))
    (told,) = output.ui["lora_alloy"]
    return json.loads(json.dumps(told, allow_nan=False))


def test_a_blend_says_what_its_modules_are_made_of(nodes: dict[str, Any], pack: Any) -> None:
    core = importlib.import_module("alloy_pack.core")
    first, second = core.StateDict(lora(1), name="A"), core.StateDict(lora(2, blocks=2), name="B")
    table = shown(
        nodes["LoraAlloyBlend"], lora_1=first, lora_2=second, weight_2=0.5, target_rank=EXACT,
        block_weights="double_blocks.1: 2, 0",
    )["table"]  # fmt: skip
    groups = {group["cells"][0]: group for group in table["groups"]}
    assert groups.keys() == {"blended: 1 x A + 0.5 x B", "scaled: 2 x A", "copied: 1 x A"}
    assert [group["cells"][1] for group in table["groups"]] == [1, 1, 1]
    rows = [row for group in table["groups"] for row in group["rows"]]
    assert sorted(row[0] for row in rows) == [f"double_blocks.{i}.img_mlp.0" for i in range(3)]
    assert all(len(row) == len(table["columns"]) for row in rows)


def test_an_analysis_is_grouped_by_block_and_its_energy_adds_up(
    nodes: dict[str, Any], folders: Any
) -> None:
    told = shown(nodes["LoraAlloyLayerAnalysis"], lora=lora())
    table, energy = told["table"], told["energy"]
    assert [group["block"] for group in table["groups"]] == list(energy)
    assert sum(energy.values()) == pytest.approx(1.0)
    column = [name for _, name in table["columns"]].index("dW.energy_share")
    for group in table["groups"]:
        assert group["cells"][column] == pytest.approx(energy[group["block"]])
        assert group["cells"][column] == pytest.approx(sum(row[column] for row in group["rows"]))
    assert any("90 %" in line for line in told["lines"])


def test_a_comparison_has_a_line_for_every_block(nodes: dict[str, Any], folders: Any) -> None:
    told = shown(nodes["LoraAlloyCompare"], lora_1=lora(1), lora_2=lora(2, blocks=2))
    blocks = [group["block"] for group in told["table"]["groups"]]
    assert blocks == [f"double_blocks.{i}" for i in range(3)]
