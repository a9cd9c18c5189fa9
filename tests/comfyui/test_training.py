"""Core's training nodes on both ends of ours, and files that core can use."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.comfyui import models
from tests.comfyui.alloy import EXACT, Alloy, applied, core_loras, difference, latent, save
from tests.comfyui.graphs import Link, generate, load_flux, train_lora
from tests.comfyui.harness import Server
from tests.comfyui.loras import random_lora


def test_a_trained_lora_passes_through_every_edit(comfyui: Server) -> None:
    """TrainLoraNode -> ours -> LoraModelLoader and SaveLoRA: plain dicts in, plain dicts out.

    Half of it by our Apply and half by core's loader are the whole of it.
    """
    before = comfyui.log().count("lora key not loaded")
    graph = Alloy(comfyui)
    model, clip, vae = load_flux(graph)
    trained = train_lora(graph, model, clip, vae, rank=2)
    blended = graph.node("LoraAlloyBlend", lora_1=trained, target_rank=EXACT)
    resized = graph.node("LoraAlloyRankResize", lora=trained)
    analysis = graph.node("LoraAlloyLayerAnalysis", lora=trained)
    parts = graph.node("LoraAlloyTopBlocks", lora=trained, analysis=analysis[0], threshold=0.5)
    for name, lora in {
        "trained": trained, "trained-blend": blended[0], "trained-resized": resized[0],
        "part-kept": parts[0], "part-rest": parts[1],
    }.items():  # fmt: skip
        graph.add("SaveLoRA", lora=lora, prefix=f"loras/{name}")
    graph.node("LoraAlloySave", lora=trained, filename_prefix="loras/trained-saved")
    half, _ = graph.apply(model, None, trained, 0.5)
    whole = graph.add(
        "LoraModelLoader", model=half, lora=blended[0], strength_model=0.5, bypass=False
    )
    generate(graph, whole[0], clip)
    ours = comfyui.latent(comfyui.queue(graph))

    files = {
        path.name.rsplit("_", 2)[0]: path
        for path in (comfyui.base / "output/loras").glob("*.safetensors")
    }
    original = load_file(files["trained"])
    kept, rest = load_file(files["part-kept"]), load_file(files["part-rest"])
    assert kept and rest and not kept.keys() & rest.keys()
    for same in (load_file(files["trained-saved"]), kept | rest):
        assert original.keys() == same.keys()
        assert all(torch.equal(original[key], same[key]) for key in original)
    for kind in ("trained", "trained-blend", "trained-resized"):
        core = latent(comfyui, core_loras((files[kind].name, 1.0)))
        assert difference(core, ours) < 1e-5, kind
    assert difference(latent(comfyui), ours) > 1e-3
    assert comfyui.log().count("lora key not loaded") == before


@pytest.mark.parametrize("spelling", ["kohya", "diffusers", "generic"])
def test_what_save_wrote_core_loads_whole(comfyui: Server, spelling: str) -> None:
    before = comfyui.log().count("lora key not loaded")
    first = save(comfyui, "train-a", random_lora(models.flux(), "kohya", seed=1), ss_tag="x")
    second = save(comfyui, "train-b", random_lora(models.flux(), "diffusers", seed=2))

    def blend(graph: Alloy) -> Link:
        made = graph.node(
            "LoraAlloyBlend", lora_1=graph.load(first), lora_2=graph.load(second),
            target_rank=EXACT, spelling=spelling,
        )  # fmt: skip
        graph.node("LoraAlloySave", lora=made[0], filename_prefix=f"loras/blend-{spelling}")
        return made[0]

    ours = latent(comfyui, applied(blend))
    name = f"blend-{spelling}_00001_.safetensors"
    assert name in comfyui.object_info()["LoraLoader"]["input"]["required"]["lora_name"][0]
    assert difference(ours, latent(comfyui, core_loras((name, 1.0)))) < 1e-5
    assert comfyui.log().count("lora key not loaded") == before


def _metadata(path: Any) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def test_save_numbers_its_files_and_keeps_metadata_and_workflow(comfyui: Server) -> None:
    name = save(comfyui, "meta", random_lora(models.flux(), seed=5), ss_tag="x", old="y")
    graph = Alloy(comfyui)
    graph.node(
        "LoraAlloySave", lora=graph.load(name), filename_prefix="loras/deep/meta", dtype="fp16",
        metadata="modelspec.title: My: blend\nold:",
    )  # fmt: skip
    entries = [comfyui.queue(graph, workflow={"nodes": [n]}) for n in (1, 2)]
    assert entries[0]["status"]["completed"]
    # ComfyUI runs an unchanged graph no second time: another dtype is another graph.
    graph["2"]["inputs"]["dtype"] = "match"
    comfyui.queue(graph)
    folder = comfyui.base / "output/loras/deep"
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["meta_00001_.safetensors", "meta_00002_.safetensors"]

    half, same = (load_file(folder / file) for file in files)
    original = load_file(comfyui.folder("loras") / name)
    assert all(torch.equal(same[key], original[key]) for key in original)
    assert {t.dtype for key, t in half.items() if "alpha" not in key} == {torch.float16}
    metadata = _metadata(folder / files[0])
    assert metadata["ss_tag"] == "x" and metadata["modelspec.title"] == "My: blend"
    assert "old" not in metadata
    assert '"nodes": [1]' in metadata["workflow"] and "LoraAlloySave" in metadata["prompt"]
    assert (folder / files[0]).stat().st_mode & 0o044
