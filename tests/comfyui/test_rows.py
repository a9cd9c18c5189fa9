"""LoRA Blend's rows in a real ComfyUI: files and stacks are what a chain of loaders makes."""

from __future__ import annotations

import pytest

from tests.comfyui import models
from tests.comfyui.alloy import EXACT, Alloy, applied, core_loras, difference, latent, save
from tests.comfyui.graphs import Link
from tests.comfyui.harness import ComfyUIError, Server
from tests.comfyui.loras import random_lora


def test_rows_and_stacks_are_what_a_chain_of_loaders_makes(comfyui: Server) -> None:
    """A wire, two files in rows of which one is off, and a saved LoRA as a stack."""
    names = [
        save(comfyui, f"row-{seed}", random_lora(models.flux(), "kohya", seed=seed))
        for seed in range(1, 5)
    ]
    rows = f"{names[1]}: -0.5\n  double_blocks.*: 0\n{names[2]}: 1 off\nlora_1: 0.5"

    def stacked(graph: Alloy) -> Link:
        saved = graph.node(
            "LoraAlloySave", lora=graph.load(names[3]), filename_prefix="loras/row-stack"
        )
        return graph.node(
            "LoraAlloyBlend", lora_1=graph.load(names[0]), weight_1=1.6, rows=rows,
            lora_stack=saved[1], target_rank=EXACT,
        )[0]  # fmt: skip

    def without_double_blocks(graph: Alloy) -> Link:
        first = graph.node(
            "LoraAlloyBlend", lora_1=graph.load(names[1]), weight_1=-0.5, target_rank=EXACT,
            layers="-double_blocks.*",
        )  # fmt: skip
        return first[0]

    def chain(graph: Alloy, model: Link, clip: Link) -> tuple[Link, Link]:
        model, clip = core_loras((names[0], 0.8), (names[3], 1.0))(graph, model, clip)
        return graph.apply(model, clip, without_double_blocks(graph))

    chained = latent(comfyui, chain)
    assert difference(chained, latent(comfyui)) > 0.01
    assert difference(chained, latent(comfyui, core_loras((names[0], 0.8)))) > 0.01
    assert difference(chained, latent(comfyui, applied(stacked))) < 1e-4


def test_a_row_whose_file_is_gone_is_refused_before_the_run(comfyui: Server) -> None:
    graph = Alloy(comfyui)
    blend = graph.node("LoraAlloyBlend", rows="gone/x.safetensors: 1")
    graph.node("LoraAlloySave", lora=blend[0])
    with pytest.raises(ComfyUIError, match=r"'gone/x\.safetensors' is neither a socket nor a file"):
        comfyui.queue(graph)


def test_a_file_of_a_row_is_read_again_when_it_changed(comfyui: Server) -> None:
    name = save(comfyui, "row-fresh", random_lora(models.flux(), "kohya", rank=4, seed=1))
    graph = Alloy(comfyui)
    blend = graph.node("LoraAlloyBlend", rows=f"{name}: 1", target_rank=EXACT)
    report = graph.show(blend[1])
    assert "rank 4" in comfyui.queue(graph)["outputs"][report.id]["text"][0]
    assert blend.id in comfyui.cached(comfyui.queue(graph))
    save(comfyui, "row-fresh", random_lora(models.flux(), "kohya", rank=8, seed=1))
    assert "rank 8" in comfyui.queue(graph)["outputs"][report.id]["text"][0]
