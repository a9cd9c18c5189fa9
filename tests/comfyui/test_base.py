"""Nodes that take a MODEL: LoRA Extract, and the base of DoRA, GLoRA, OFT and BOFT in the others.

What ComfyUI's own patcher makes of the same files is what counts: the pictures are compared.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.comfyui import models
from tests.comfyui.alloy import (
    EXACT,
    Alloy,
    core_loras,
    difference,
    latent,
    save,
    text_of,
)
from tests.comfyui.graphs import Link, core_lora, generate, load_flux
from tests.comfyui.harness import Server
from tests.comfyui.loras import random_lora
from tests.helpers import randn

KINDS = ("DoRA of rows", "DoRA of columns", "GLoRA", "OFT", "BOFT")


def of_kind(kind: str, seed: int = 0) -> dict[str, Tensor]:
    """A file for the tiny Flux whose every module needs the weight that it changes."""
    weights, tensors = models.flux(), random_lora(models.flux(), "generic", seed=seed, size=0.2)
    raws = dict.fromkeys(key.rpartition(".lora_")[0] for key in tensors if ".lora_" in key)
    result: dict[str, Tensor] = {}
    for raw in raws:
        weight = weights[f"{raw.removeprefix('diffusion_model.')}.weight"]
        out, inner = weight.shape
        if kind.startswith("DoRA"):
            result |= {key: t for key, t in tensors.items() if key.startswith(f"{raw}.")}
            norms = weight.norm(dim=1) if "rows" in kind else weight.norm(dim=0)
            magnitude = norms * (1 + 0.05 * randn(norms.shape, raw))
            result[f"{raw}.dora_scale"] = magnitude.reshape((-1, 1) if "rows" in kind else (1, -1))
        elif kind == "GLoRA":
            for name, shape in {"a1": (inner, 4), "a2": (4, inner), "b1": (out, 4),
                                "b2": (4, inner)}.items():  # fmt: skip
                result[f"{raw}.{name}.weight"] = 0.05 * randn(shape, raw, name)
        else:
            steps = () if kind == "OFT" else (2,)
            result[f"{raw}.oft_blocks"] = 0.02 * randn((*steps, out // 8, 8, 8), raw)
            result[f"{raw}.alpha"] = torch.tensor(0.0)  # Without one ComfyUI fails on BOFT.
    return result


def patched(comfyui: Server, make: Any) -> Tensor:
    """The latent with the LoRA that `make(graph, model, clip)` builds, applied by our node."""
    graph = Alloy(comfyui)
    model, clip, _ = load_flux(graph)
    patched_model, clip = graph.apply(model, clip, make(graph, model, clip))
    generate(graph, patched_model, clip)
    return comfyui.latent(comfyui.queue(graph))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_baked_gives_the_picture_that_comfyui_makes_of_the_file(comfyui, kind) -> None:
    name = save(comfyui, f"kind-{kind}", of_kind(kind))
    theirs = latent(comfyui, core_loras((name, 1.0)))
    assert difference(theirs, latent(comfyui)) > 1e-3

    def converted(graph: Alloy, model: Link, clip: Link) -> Link:
        lora = graph.load(name)
        return graph.node("LoraAlloyConvert", lora=lora, base_model=model, dtype="fp32")[0]

    assert difference(theirs, patched(comfyui, converted)) < 1e-4


def test_a_dora_in_a_blend_is_both_and_says_what_a_rank_loses(comfyui: Server) -> None:
    dora = save(comfyui, "a-dora", of_kind("DoRA of rows", 1))
    plain = save(comfyui, "a-lora", random_lora(models.flux(), "kohya", seed=2))
    theirs = latent(comfyui, core_loras((dora, 1.0), (plain, 0.5)))
    reports: list[Any] = []

    def blended(target: dict[str, Any]) -> Tensor:
        graph = Alloy(comfyui)
        model, clip, _ = load_flux(graph)
        node = graph.node(
            "LoraAlloyBlend", lora_1=graph.load(dora), lora_2=graph.load(plain), weight_2=0.5,
            base_model=model, **target,
        )  # fmt: skip
        seen = graph.show(node[1])
        patched_model, clip = graph.apply(model, clip, node[0])
        generate(graph, patched_model, clip)
        entry = comfyui.queue(graph)
        reports.append(text_of(entry, seen))
        return comfyui.latent(entry)

    # ComfyUI's second LoRA comes after the DoRA: both are sums, in either order.
    assert difference(theirs, blended({"target_rank": EXACT})) < 1e-4
    coarse = difference(theirs, blended({"target_rank": "fixed rank", "target_rank.rank": 8}))
    fine = difference(theirs, blended({"target_rank": "fixed rank", "target_rank.rank": 64}))
    assert 1e-4 < fine < coarse
    assert "baked with the Flux model" in reports[0] and "relative error" in reports[1]


def tuned_flux() -> dict[str, Tensor]:
    """The tiny Flux after a full fine-tune: every weight moved."""
    return {key: w + 0.02 * w.std() * randn(w.shape, key) if w.ndim > 1 else w
            for key, w in models.flux().items()}  # fmt: skip


def extracted(
    comfyui: Server, dtype: str = "default", **settings: Any
) -> tuple[Tensor, Tensor, str]:
    """(the latent of the tuned model, of the base with the extracted LoRA, the report)."""
    save_file(tuned_flux(), comfyui.folder("diffusion_models") / "tuned_flux.safetensors")
    graph = Alloy(comfyui)
    model, clip, _ = load_flux(graph)
    loader = {"unet_name": "tuned_flux.safetensors", "weight_dtype": dtype}
    tuned = graph.add("UNETLoader", **loader)[0]
    generate(graph, tuned, clip)
    theirs = comfyui.latent(comfyui.queue(graph))
    graph = Alloy(comfyui)
    model, clip, _ = load_flux(graph)
    tuned = graph.add("UNETLoader", **loader)[0]
    node = graph.node("LoraAlloyExtract", model_tuned=tuned, model_base=model, **settings)
    seen = graph.show(node[1])
    patched_model, clip = graph.apply(model, clip, node[0])
    generate(graph, patched_model, clip)
    entry = comfyui.queue(graph)
    return theirs, comfyui.latent(entry), text_of(entry, seen)


def test_the_base_with_the_extracted_lora_makes_the_tuned_models_picture(comfyui: Server) -> None:
    theirs, ours, _ = extracted(comfyui, rule=EXACT, vectors=True)
    assert difference(theirs, latent(comfyui)) > 1e-3
    assert difference(theirs, ours) < 1e-5
    theirs, low, report = extracted(comfyui, **{"rule": "fixed rank", "rule.rank": 4})
    _, high, _ = extracted(comfyui, **{"rule": "fixed rank", "rule.rank": 96})
    assert difference(theirs, ours) < difference(theirs, high) < difference(theirs, low)
    assert "relative error at rank: 1" in report and "spectrum is flat" in report


def test_a_model_in_fp8_is_read_as_comfyui_reads_it(comfyui: Server) -> None:
    settings = {"rule": EXACT, "output_dtype": "fp32", "vectors": True}
    theirs, ours, _ = extracted(comfyui, "fp8_e4m3fn", **settings)
    assert difference(theirs, extracted(comfyui, **settings)[0]) > 1e-3
    assert difference(theirs, ours) < 1e-4


def test_a_lora_on_a_model_comes_back_and_the_report_says_that_it_is_there(comfyui: Server) -> None:
    name = save(comfyui, "within", random_lora(models.flux(), "kohya", seed=5, rank=3))
    theirs = latent(comfyui, core_loras((name, 1.0)))
    graph = Alloy(comfyui)
    model, clip, _ = load_flux(graph)
    tuned, _ = core_lora(graph, model, clip, name)
    node = graph.node("LoraAlloyExtract", model_tuned=tuned, model_base=model, rule="knee")
    seen = graph.show(node[1])
    kept = graph.node("LoraAlloySave", lora=node[0], filename_prefix="loras/again")
    patched_model, clip = graph.apply(model, clip, node[0])
    generate(graph, patched_model, clip)
    entry = comfyui.queue(graph)
    assert difference(theirs, comfyui.latent(entry)) < 1e-4
    assert "model_tuned carries patches" in text_of(entry, seen)
    written = sorted((comfyui.base / "output/loras").glob("again_*.safetensors"))[-1]
    ranks = {len(t) for key, t in load_file(written).items() if "lora_down" in key}
    assert ranks == {3} and kept.id
