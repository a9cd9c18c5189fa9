"""The harness itself, proven with ComfyUI's own nodes only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.comfyui import models
from tests.comfyui.graphs import Graph, Link, core_lora, generate, load_flux, load_sd15, train_lora
from tests.comfyui.harness import ComfyUIError, Server, error_of
from tests.comfyui.loras import random_lora

TINY_PACK = """
WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    from .nodes.tiny import TinyExtension

    return TinyExtension()
"""

TINY_NODES = """
from comfy_api.latest import ComfyExtension, io


class Tiny(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        choices = [
            io.DynamicCombo.Option("plain", []),
            io.DynamicCombo.Option("scaled", [io.Float.Input("by", default=2.0)]),
        ]
        return io.Schema(
            node_id="HarnessTiny",
            inputs=[io.DynamicCombo.Input("method", options=choices)],
            outputs=[io.String.Output()],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, method):
        return io.NodeOutput(str(method), ui={"text": [str(sorted(method.items()))]})


class TinyExtension(ComfyExtension):
    async def get_node_list(self):
        return [Tiny]
"""

Loader = Callable[[Graph], tuple[Link, Link, Link]]


def with_lora(
    comfyui: Server, tensors: dict[str, Tensor] | None, name: str = "", load: Loader = load_flux
) -> Tensor:
    """Return the latent that a tiny model makes with a LoRA in core's LoraLoader."""
    graph = Graph()
    model, clip, _ = load(graph)
    if tensors is not None:
        save_file(tensors, comfyui.folder("loras") / f"{name}.safetensors")
        model, clip = core_lora(graph, model, clip, f"{name}.safetensors")
    generate(graph, model, clip)
    return comfyui.latent(comfyui.queue(graph))


def difference(a: Tensor, b: Tensor) -> float:
    """Return the distance of two latents as a share of the first."""
    return float((a - b).norm() / a.norm())


def test_the_server_and_its_page_answer(comfyui: Server) -> None:
    assert {"UNETLoader", "LoraLoader", "KSampler", "SaveLatent"} <= comfyui.object_info().keys()
    assert b"<title>ComfyUI</title>" in comfyui.fetch("/")


@pytest.mark.parametrize("load", [load_flux, load_sd15])
def test_a_graph_makes_the_same_image_twice(comfyui: Server, load: Loader) -> None:
    graph = Graph()
    generate(graph, *load(graph))
    first = comfyui.queue(graph)
    assert set(graph) <= comfyui.cached(comfyui.queue(graph))

    other = Graph()
    image = other.add("EmptyImage", width=8, height=8, batch_size=1, color=0)
    other.add("SaveImage", images=image[0], filename_prefix="other")
    comfyui.queue(other)  # ComfyUI keeps nothing that the last graph did not use
    again = comfyui.queue(graph)
    assert not comfyui.cached(again)
    assert torch.equal(comfyui.latent(first), comfyui.latent(again))
    (one,), (two,) = comfyui.files(first), comfyui.files(again)
    assert one != two and one.read_bytes() == two.read_bytes()


def test_a_lora_means_the_same_in_every_spelling(comfyui: Server) -> None:
    flux, before = models.flux(), len(comfyui.log())
    plain = with_lora(comfyui, None)
    kohya = with_lora(comfyui, random_lora(flux, "kohya"), "kohya")
    assert difference(plain, kohya) > 0.05
    for spelling, options in {
        "kohya": {"alpha": 1.0},
        "generic": {},
        "diffusers": {},
    }.items():
        name = f"{spelling}-again"
        latent = with_lora(comfyui, random_lora(flux, spelling, **options), name)
        assert difference(kohya, latent) < 1e-5, spelling
    assert "not loaded" not in comfyui.log()[before:]


def test_a_seed_and_a_pattern_choose_the_update() -> None:
    flux = models.flux()
    everything = random_lora(flux, rank=2, seed=5)
    part = random_lora(flux, rank=2, seed=5, only="single_blocks.*")
    assert 0 < len(part) < len(everything)
    assert all(torch.equal(part[name], everything[name]) for name in part)
    other = random_lora(flux, rank=2, seed=6)
    factors = [name for name in other if name.endswith(".weight")]
    assert not any(torch.equal(other[name], everything[name]) for name in factors)


@pytest.mark.parametrize("part", ["sd15_unet", "clip_l"])
def test_a_kohya_lora_fits_sd15(comfyui: Server, part: str) -> None:
    before = len(comfyui.log())
    lora = random_lora(getattr(models, part)(), "kohya")
    plain = with_lora(comfyui, None, load=load_sd15)
    assert difference(plain, with_lora(comfyui, lora, part, load=load_sd15)) > 1e-3
    assert "not loaded" not in comfyui.log()[before:]


@pytest.mark.parametrize("load", [load_flux, load_sd15])
def test_a_trained_lora_goes_from_node_to_node(comfyui: Server, load: Loader) -> None:
    graph = Graph()
    model, clip, vae = load(graph)
    lora = train_lora(graph, model, clip, vae)
    graph.add("SaveLoRA", lora=lora, prefix=f"loras/{load.__name__}")
    options = {"strength_model": 1.0, "bypass": False}
    applied = graph.add("LoraModelLoader", model=model, lora=lora, **options)
    generate(graph, applied[0], clip)
    trained = comfyui.latent(comfyui.queue(graph))
    assert difference(with_lora(comfyui, None, load=load), trained) > 1e-3
    (saved,) = (comfyui.base / "output/loras").glob(f"{load.__name__}_*.safetensors")
    names = comfyui.object_info()["LoraLoader"]["input"]["required"]["lora_name"][0]
    assert saved.name in names


def test_errors_arrive_with_their_sentence(comfyui: Server) -> None:
    graph = Graph()
    folder = comfyui.folder("checkpoints")
    save_file({"nothing": torch.zeros(1)}, folder / "nothing.safetensors")
    model = graph.add("CheckpointLoaderSimple", ckpt_name="nothing.safetensors")
    generate(graph, model[0], model[1])
    with pytest.raises(ComfyUIError, match="Could not detect model type"):
        comfyui.queue(graph)
    entry = comfyui.queue(graph, expect_error=True)
    assert "Could not detect model type" in str(error_of(entry))

    model.inputs["ckpt_name"] = "absent.safetensors"
    with pytest.raises(ComfyUIError, match=r"ckpt_name: 'absent\.safetensors' not in"):
        comfyui.queue(graph)


def test_progress_is_heard_and_an_interrupt_stops(comfyui: Server) -> None:
    graph = Graph()
    model, clip, _ = load_flux(graph)
    sampler = generate(graph, model, clip, steps=4000, seed=2)
    run = comfyui.submit(graph)
    event = comfyui.wait_for(
        lambda event: event["type"] == "progress" and event["data"]["prompt_id"] == run
    )
    assert event["data"]["node"] == sampler.id and event["data"]["max"] == 4000
    comfyui.interrupt()
    entry = comfyui.wait(run)
    assert error_of(entry) == "interrupted"
    assert len(comfyui.events_of(entry, "progress")) < 4000


@pytest.mark.parametrize("copy", [False, True], ids=["linked", "copied"])
def test_a_pack_loads_under_a_hyphenated_name(tmp_path: Path, copy: bool) -> None:
    files = {
        "__init__.py": TINY_PACK,
        "nodes/tiny.py": TINY_NODES,
        "web/docs/HarnessTiny.md": "# Help",
        "tests/test_tiny.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with Server(packs={"tiny-pack": tmp_path}, copy=copy) as comfyui:
        pack = comfyui.base / "custom_nodes/tiny-pack"
        assert pack.is_symlink() != copy
        assert (pack / "tests").exists() != copy
        info = comfyui.object_info()["HarnessTiny"]
        assert info["python_module"] == "custom_nodes.tiny-pack"
        assert comfyui.fetch("/extensions/tiny-pack/docs/HarnessTiny.md") == b"# Help"
        graph = Graph()
        node = graph.add("HarnessTiny", method="scaled", **{"method.by": 3.0})
        output = comfyui.queue(graph)["outputs"][node.id]
        assert output["text"] == ["[('by', 3.0), ('method', 'scaled')]"]
