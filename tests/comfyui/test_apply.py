"""Load and Apply against core's LoraLoader; what does not fit is said."""

from __future__ import annotations

import pytest
import torch

from tests.comfyui import models
from tests.comfyui.alloy import Alloy, applied, core_loras, latent, save
from tests.comfyui.graphs import generate, load_flux, load_sd15
from tests.comfyui.harness import Server, error_of
from tests.comfyui.loras import SPELLINGS, random_lora


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_apply_is_cores_loader_to_the_bit(comfyui: Server, spelling: str) -> None:
    name = save(comfyui, f"apply-{spelling}", random_lora(models.flux(), spelling, seed=11))
    ours = latent(comfyui, applied(lambda graph: graph.load(name)))
    assert torch.equal(ours, latent(comfyui, core_loras((name, 1.0))))


def test_apply_reaches_unet_and_text_encoder(comfyui: Server) -> None:
    both = random_lora(models.sd15_unet(), "kohya") | random_lora(models.clip_l(), "kohya", size=2)
    name = save(comfyui, "apply-sd15", both)

    def picture(strength_model: float, strength_clip: float) -> torch.Tensor:
        def patch(graph: Alloy, model: list, clip: list) -> tuple[list, list]:
            return graph.apply(model, clip, graph.load(name), strength_model, strength_clip)

        return latent(comfyui, patch, load_sd15)

    plain = latent(comfyui, load=load_sd15)
    assert torch.equal(plain, picture(0.0, 0.0))
    assert torch.equal(picture(1.0, 1.0), latent(comfyui, core_loras((name, 1.0)), load_sd15))
    one, other = picture(1.0, 0.0), picture(0.0, 1.0)
    assert len({plain.sum(), one.sum(), other.sum()}) == 3


def test_a_lora_for_another_model_is_an_error(comfyui: Server) -> None:
    name = save(comfyui, "apply-flux", random_lora(models.flux(), "kohya"))
    graph = Alloy(comfyui)
    model, clip, _ = load_sd15(graph)
    model, clip = graph.apply(model, clip, graph.load(name))
    generate(graph, model, clip)
    message = str(error_of(comfyui.queue(graph, expect_error=True)))
    assert message.startswith("apply-flux.safetensors: made for Flux, this model is SD15, and not")
    assert "not one of its 58 modules fits: they are not in it, such as lora_unet_" in message


def test_a_partial_fit_is_reported(comfyui: Server) -> None:
    larger = random_lora(models.flux(double=5), "generic", only="double_blocks.*")
    name = save(comfyui, "apply-partial", larger)
    graph = Alloy(comfyui)
    model, clip, _ = load_flux(graph)
    applied_node, _ = graph.apply(model, clip, graph.load(name))
    generate(graph, applied_node, clip)
    entry = comfyui.queue(graph)
    facts = entry["outputs"][applied_node[0]]["lora_alloy"][0]["lines"]
    said = "; ".join(facts)
    assert said.startswith("40 of 50 modules applied; 10 are not in this model (double")
    assert f"{name}: {said}" in comfyui.log()


def test_modules_of_another_shape_do_not_fit(comfyui: Server) -> None:
    name = save(comfyui, "apply-wide", random_lora(models.flux(hidden=256), "generic"))
    graph = Alloy(comfyui)
    model, clip, _ = load_flux(graph)
    model, _ = graph.apply(model, None, graph.load(name))
    generate(graph, model, clip)
    message = str(error_of(comfyui.queue(graph, expect_error=True)))
    assert "not one of its 58 modules fits: they have another shape" in message


def test_apply_without_a_model_says_what_to_connect(comfyui: Server) -> None:
    name = save(comfyui, "apply-alone", random_lora(models.flux(), "generic"))

    def error(clip: bool) -> str:
        graph = Alloy(comfyui)
        links = load_flux(graph)
        patched = graph.apply(None, links[1] if clip else None, graph.load(name))
        generate(graph, patched[0], links[1])
        return str(error_of(comfyui.queue(graph, expect_error=True)))

    assert "connect a model, a clip or both" in error(clip=False)
    assert "all of its 58 modules are for a diffusion model; connect model" in error(clip=True)


def test_an_output_without_its_input_says_so_where_it_is_used(comfyui: Server) -> None:
    name = save(comfyui, "apply-alone", random_lora(models.flux(), "generic"))
    graph = Alloy(comfyui)
    model, _, _ = load_flux(graph)
    model, clip = graph.apply(model, None, graph.load(name))
    generate(graph, model, clip)
    entry = comfyui.queue(graph)
    (event,) = comfyui.events_of(entry, "execution_error")
    assert "Apply LoRA: no clip is connected" in event["data"]["exception_message"]
