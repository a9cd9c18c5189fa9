"""How the nodes behave while they run: progress, interrupts, caching, errors."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.comfyui import models
from tests.comfyui.alloy import Alloy, rank, save, text_of
from tests.comfyui.graphs import load_flux
from tests.comfyui.harness import ComfyUIError, Server, error_of
from tests.comfyui.loras import random_lora


def large(comfyui: Server, modules: int = 400) -> str:
    """A LoRA that takes some seconds."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for i in range(modules):
        base = f"diffusion_model.blocks.{i}.attn"
        tensors[f"{base}.lora_A.weight"] = torch.randn(64, 384, generator=generator)
        tensors[f"{base}.lora_B.weight"] = torch.randn(384, 64, generator=generator)
    return save(comfyui, "large", tensors)


def test_progress_comes_per_module(comfyui: Server) -> None:
    name = save(comfyui, "progress", random_lora(models.flux(), seed=7))
    graph = Alloy(comfyui)
    blend = graph.node("LoraAlloyBlend", lora_1=graph.load(name), weight_1=0.5)
    graph.node("LoraAlloySave", lora=blend[0])
    entry = comfyui.queue(graph)
    events = [event["data"] for event in comfyui.events_of(entry, "progress")]
    assert {event["node"] for event in events} == {blend.id}
    # ComfyUI thins them out by time; the first and the last always come.
    assert [events[0]["value"], events[-1]["value"]] == [1, 58]
    assert {event["max"] for event in events} == {58}


def test_an_interrupt_stops_and_leaves_nothing(comfyui: Server) -> None:
    graph = Alloy(comfyui)
    source = graph.load(large(comfyui))
    blend = graph.node(
        "LoraAlloyBlend", lora_1=source, lora_2=source, compute_dtype="float64", **rank(16)
    )
    graph.node("LoraAlloySave", lora=blend[0], filename_prefix="loras/interrupted")
    run = comfyui.submit(graph)
    comfyui.wait_for(
        lambda event: event["type"] == "progress" and event["data"]["prompt_id"] == run
    )
    comfyui.interrupt()
    entry = comfyui.wait(run)
    assert error_of(entry) == "interrupted"
    assert comfyui.events_of(entry, "progress")[-1]["data"]["value"] < 400
    folder = comfyui.base / "output/loras"
    assert not folder.exists() or not [p for p in folder.iterdir() if "interrupted" in p.name]


def test_a_second_run_is_cached_and_a_replaced_file_is_not(comfyui: Server) -> None:
    name = save(comfyui, "replaced", random_lora(models.flux(), "kohya", rank=4, seed=8))
    graph = Alloy(comfyui)
    load = graph.node("LoraAlloyLoad", lora_name=name)
    blend = graph.node("LoraAlloyBlend", lora_1=load[0], **rank(2))
    info, report = graph.show(load[1]), graph.show(blend[1])
    first = comfyui.queue(graph)
    assert "ranks: 4 (58)" in text_of(first, info)
    assert {load.id, blend.id} <= comfyui.cached(comfyui.queue(graph))

    save_file(random_lora(models.flux(), "kohya", rank=8, seed=8), comfyui.base / "new.safetensors")
    os.replace(comfyui.base / "new.safetensors", comfyui.folder("loras") / name)
    again = comfyui.queue(graph)
    assert not {load.id, blend.id} & comfyui.cached(again)
    assert "ranks: 8 (58)" in text_of(again, info)
    assert "| 8           | 2    |" in text_of(again, report)


def test_edits_of_one_load_do_not_disturb_each_other(comfyui: Server) -> None:
    name = save(comfyui, "shared", random_lora(models.flux(), "kohya", rank=4, seed=9))
    graph = Alloy(comfyui)
    source = graph.load(name)
    graph.node("LoraAlloySave", lora=source, filename_prefix="loras/before")
    for inputs in ({"weight_1": -2.0, **rank(1)}, {"lora_2": source}):
        blend = graph.node("LoraAlloyBlend", lora_1=source, **inputs)
        graph.node("LoraAlloySave", lora=blend[0], filename_prefix="loras/edited")
    graph.node("LoraAlloySave", lora=source, filename_prefix="loras/after", metadata="x: y")
    comfyui.queue(graph)
    from safetensors.torch import load_file

    folder = comfyui.base / "output/loras"
    before, after = (load_file(folder / f"{n}_00001_.safetensors") for n in ("before", "after"))
    assert all(torch.equal(before[key], after[key]) for key in before)


ERRORS: dict[str, tuple[str, dict[str, Any], str]] = {
    "selector": (
        "LoraAlloyBlend", {"layers": "triple_blocks.*"},
        "selector 'triple_blocks.*' matches no layer; did you mean",
    ),
    "backwards": (
        "LoraAlloyBlend", {"layers": "double_blocks.3-1"}, "the range 3-1 runs backwards",
    ),
    "block weights": (
        "LoraAlloyBlend", {"block_weights": "double_blocks.0 1"},
        "a line for some layers reads 'pattern: weight'",
    ),
    "unknown block": (
        "LoraAlloyBlend", {"block_weights": "double_blocks.77: 1"},
        "block weights pattern 'double_blocks.77' matches no layer",
    ),
    "nothing left": (
        "LoraAlloyBlend", {"weight_1": 0.0},
        "the blend removed every module, nothing is written",
    ),
    "budget": (
        "LoraAlloyRankResize", {"rule": "file size in MB", "rule.megabytes": 0.01},
        "raise it",
    ),
    "rank limits": (
        "LoraAlloyRankResize", {"min_rank": 8, "max_rank": 4},
        "maximum rank 4 is below the minimum rank 8",
    ),
    "always": (
        "LoraAlloyTopBlocks", {"always": "no_such_block.*"}, "matches no layer",
    ),
    "nothing kept": (
        "LoraAlloyTopBlocks", {"threshold": 1.0, "mode": "remove"},
        "errors.safetensors: nothing is left of it",
    ),
    "prefix": (
        "LoraAlloySave", {"filename_prefix": "../outside"},
        "filename prefix '../outside' must name a file inside ComfyUI's output folder",
    ),
    "metadata": (
        "LoraAlloySave", {"metadata": "no colon"}, "metadata line 'no colon'; it must read",
    ),
}  # fmt: skip


# What can be known without the LoRAs on the wires: ComfyUI does not even begin.
KNOWN_BEFORE = {"backwards", "prefix", "metadata"}


def failure(comfyui: Server, graph: Alloy) -> str:
    """What is said of a graph that is refused or fails."""
    try:
        return str(error_of(comfyui.queue(graph, expect_error=True)))
    except ComfyUIError as refused:
        return str(refused)


@pytest.mark.parametrize("case", ERRORS)
def test_errors_arrive_with_their_sentence(comfyui: Server, case: str) -> None:
    class_type, given, sentence = ERRORS[case]
    name = save(comfyui, "errors", random_lora(models.flux(), "kohya", seed=7))
    graph = Alloy(comfyui)
    source = graph.load(name)
    socket = "lora_1" if class_type == "LoraAlloyBlend" else "lora"
    node = graph.node(class_type, **{socket: source}, **given)
    if class_type != "LoraAlloySave":
        graph.node("LoraAlloySave", lora=node[0], filename_prefix="loras/never")
    message = failure(comfyui, graph)
    assert sentence in message
    assert ("Custom validation failed" in message) == (case in KNOWN_BEFORE)
    assert ("\n" in message) == (case in KNOWN_BEFORE)
    assert not list(comfyui.base.glob("output/**/never*"))


def test_loras_of_two_models_are_not_blended(comfyui: Server) -> None:
    flux = save(comfyui, "of-flux", random_lora(models.flux(), "kohya"))
    sd15 = save(comfyui, "of-sd15", random_lora(models.sd15_unet(), "kohya"))
    graph = Alloy(comfyui)
    blend = graph.node("LoraAlloyBlend", lora_1=graph.load(flux), lora_2=graph.load(sd15))
    graph.node("LoraAlloySave", lora=blend[0])
    message = str(error_of(comfyui.queue(graph, expect_error=True)))
    assert message.startswith("of-flux.safetensors and of-sd15.safetensors: they share no module")


@pytest.mark.parametrize("content", ["checkpoint", "text", "pickle"])
def test_files_that_are_no_lora_are_named(comfyui: Server, content: str) -> None:
    folder = comfyui.folder("loras")
    if content == "checkpoint":
        name, sentence = save(comfyui, "checkpoint", models.taesd(4)), "no LoRA tensors in it"
    elif content == "text":
        name, sentence = "text.safetensors", "not a readable safetensors file"
        (folder / name).write_text("<html>not found</html>")
    else:
        name, sentence = "old.pt", "pickle files (.pt, .ckpt, ...) can run code"
        torch.save({}, folder / name)
    graph = Alloy(comfyui)
    graph.node("LoraAlloySave", lora=graph.load(name))
    message = failure(comfyui, graph)
    assert name in message and sentence in message and "Custom validation failed" in message


def test_an_unknown_choice_is_refused_in_words(comfyui: Server) -> None:
    name = save(comfyui, "choice", random_lora(models.flux(), "kohya", only="single_blocks.0.*"))
    graph = Alloy(comfyui)
    load_flux(graph)
    blend = graph.node("LoraAlloyBlend", lora_1=graph.load(name), method="magic")
    graph.node("LoraAlloySave", lora=blend[0])
    message = str(error_of(comfyui.queue(graph, expect_error=True)))
    assert "method None is unknown; choose one of sum, " in message


def test_a_failed_node_sends_a_name_and_not_its_tensors(comfyui: Server) -> None:
    name = save(comfyui, "short", random_lora(models.flux(), "kohya", seed=7))
    graph = Alloy(comfyui)
    blend = graph.node("LoraAlloyBlend", lora_1=graph.load(name), layers="triple_blocks")
    graph.node("LoraAlloySave", lora=blend[0])
    entry = comfyui.queue(graph, expect_error=True)
    (event,) = comfyui.events_of(entry, "execution_error")
    assert event["data"]["exception_type"] == "LoRA Alloy"
    assert event["data"]["current_inputs"]["lora_1"] == ["<LoRA short.safetensors: 174 tensors>"]
    assert len(json.dumps(event["data"]["current_inputs"])) < 2000
