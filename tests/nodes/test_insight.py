"""Layer Analysis and Top Blocks without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from .running import lora, run
from .schemas import every_input


def test_an_analysis_sorts_and_draws(nodes: dict[str, Any], folders: Path) -> None:
    node = nodes["LoraAlloyLayerAnalysis"]
    options = {name: info["options"] for name, _, info in every_input(node) if "options" in info}
    for sort_by in options["sort_by"]:
        table, _, text, csv = run(node, lora=lora(), sort_by=sort_by, rows=2)
        rows = [line for line in text.splitlines() if line.startswith("| double")]
        assert len(rows) == 2 and rows[0].startswith("| double_blocks.0.img_mlp.0 |")
        assert text.endswith("1 more layers are in the csv.")
        assert len(csv.strip().splitlines()) == 4 and list(table["rank"]) == [4, 4, 4]
    for kind in options["chart"]:
        picture = run(node, lora=lora(), chart=kind)[1]
        assert picture.shape == (1, 640, 1024, 3)
    full, _, _, _ = run(node, lora=lora(), statistics="full", top_singular_values=3)
    assert "dW.percentiles.p99" in full and "dW.svd.s4" not in full


def test_top_blocks_keep_remove_and_complete(nodes: dict[str, Any], folders: Path) -> None:
    node, source = nodes["LoraAlloyTopBlocks"], lora() | {"embedding": torch.ones(2)}
    energy = {"importance": "energy share"}

    def blocks(part: Any) -> set[str]:
        return {key.split("_img")[0][-1] for key in part if key.startswith("lora")}

    kept, rest, chosen, config, _ = run(node, lora=source, importance=energy, threshold=0.8)
    assert (blocks(kept), blocks(rest)) == ({"0"}, {"1", "2"}) and "embedding" in kept
    assert {**kept, **rest}.keys() == source.keys()
    assert all(torch.equal({**kept, **rest}[key], source[key]) for key in source)
    assert chosen == "double_blocks.0" and "### ai-toolkit" in config

    options = {"mode": "remove", "other_layers": "remove", "threshold": 0.8}
    removed, rest, _, _, _ = run(node, lora=source, importance=energy, **options)
    assert (blocks(removed), blocks(rest)) == ({"1", "2"}, {"0"})
    assert "embedding" in rest and "embedding" not in removed
    options = {"always": "double_blocks.2", "threshold": 0.8}
    more, rest, _, _, _ = run(node, lora=source, importance=energy, **options)
    assert (blocks(more), blocks(rest)) == ({"0", "2"}, {"1"})

    analysis = run(nodes["LoraAlloyLayerAnalysis"], lora=lora())[0]
    same = run(node, lora=source, importance=energy, analysis=analysis, threshold=0.8)
    assert same[0].keys() == kept.keys() and same[2] == chosen


def test_top_blocks_without_a_rest_or_without_anything(
    nodes: dict[str, Any], folders: Path
) -> None:
    from comfy_execution.graph_utils import ExecutionBlocker

    node = nodes["LoraAlloyTopBlocks"]
    kept, rest, *_ = run(node, lora=lora(), threshold=1.0)
    assert len(kept) == 9 and isinstance(rest, ExecutionBlocker)
    assert "has no rest" in rest.message
    with pytest.raises(ValueError, match="the LoRA at lora: nothing is left of it"):
        run(node, lora=lora(), threshold=1.0, mode="remove")
    other = run(nodes["LoraAlloyLayerAnalysis"], lora=lora(blocks=5))[0]
    with pytest.raises(ValueError, match="it is of another LoRA or of a part"):
        run(node, lora=lora(blocks=2), analysis=other, threshold=1.0)


def test_compare_says_what_two_loras_are_to_each_other(
    nodes: dict[str, Any], folders: Path
) -> None:
    node, one = nodes["LoraAlloyCompare"], lora()
    report, weights, chart = run(node, lora_1=one, lora_2=lora(1))
    assert "* they hardly touch" in report and "| double_blocks.2 |" in report
    assert [line.split(":")[0] for line in weights.splitlines()] == [
        "*", *(f"double_blocks.{i}" for i in range(3)),
    ]  # fmt: skip
    assert chart.shape == (1, 640, 1024, 3)
    # What it suggests is what LoRA Blend takes.
    both = {"lora_1": one, "lora_2": lora(1), "block_weights": weights}
    assert run(nodes["LoraAlloyBlend"], **both)[0]
    report, weights, _ = run(node, lora_1=one, lora_2=one, suggest="file")
    assert "are the same LoRA" in report and weights == "*: 0.5, 0.5"
    report, _, _ = run(node, lora_1=one, lora_2=lora(1), layers="double_blocks.1")
    assert "| double_blocks.1 |" in report and "double_blocks.2" not in report


def test_find_lists_copies_and_relatives_of_all_folders(
    nodes: dict[str, Any], folders: Path
) -> None:
    node, source = nodes["LoraAlloyFind"], lora()
    half = {key: tensor * 0.5 if "up" in key else tensor for key, tensor in source.items()}
    for name, tensors in (
        ("loras/same.safetensors", source),
        ("loras/styles/half|x.safetensors", half),
        ("loras/styles/another.safetensors", lora(9)),
        ("output/loras/again.safetensors", source),
    ):
        (folders / name).parent.mkdir(exist_ok=True, parents=True)
        save_file(tensors, folders / name)
    (folders / "loras/broken.safetensors").write_bytes(b"nothing")
    (report,) = run(node, lora=source)
    assert "* 3 of 5 files have to do with it" in report
    rows = [line for line in report.splitlines() if line.startswith("| ") and "file" not in line]
    assert [row.split("|")[1].strip() for row in rows[1:3]] == [
        "same.safetensors", "again.safetensors",
    ]  # fmt: skip
    assert "half\\|x.safetensors" in rows[3] and "1.000" in rows[3]
    assert "* not read: broken.safetensors" in report
    (report,) = run(node, lora=source, folder="styles")
    assert "* 1 of 2 files have to do with it" in report
    for folder in ("../output", "nowhere", "/etc"):
        assert "nothing is there in the loras folders" in node.validate_inputs(folder)


def test_an_analysis_of_some_layers(nodes: dict[str, Any], folders: Path) -> None:
    table = run(nodes["LoraAlloyLayerAnalysis"], lora=lora(), layers="double_blocks.1-2")[0]
    assert list(table["block"]) == ["double_blocks.1", "double_blocks.2"]
    with pytest.raises(ValueError, match="has 2 of its 3 layers"):
        run(nodes["LoraAlloyTopBlocks"], lora=lora(), analysis=table)


def test_charts_have_the_colours_of_the_page(nodes: dict[str, Any], folders: Path) -> None:
    """The page says light or dark where its user chose auto; without a page auto is light."""
    for name, given, place in (
        ("LoraAlloyLayerAnalysis", {"lora": lora()}, 1),
        ("LoraAlloyRankResize", {"lora": lora()}, 2),
        ("LoraAlloyTopBlocks", {"lora": lora()}, 4),
        ("LoraAlloyCompare", {"lora_1": lora(), "lora_2": lora(2)}, 2),
    ):
        for theme, white in (("auto", True), ("light", True), ("dark", False)):
            corner = run(nodes[name], theme=theme, **given)[place][0, 0, 0]
            assert (float(corner.min()) > 0.99) == white and (float(corner.max()) < 0.2) != white
