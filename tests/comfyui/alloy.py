"""What the tests of our nodes share: adding them to a graph, LoRA files, and pictures to compare.

graph = Alloy(comfyui)
lora = graph.load("style.safetensors")
blended = graph.node("LoraAlloyBlend", lora_1=lora, target_rank=EXACT)
smaller = graph.node("LoraAlloyBlend", lora_1=lora, **rank(16))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from tests.comfyui.graphs import Graph, Link, Node, core_lora, generate, load_flux
from tests.comfyui.harness import Server

# (graph, model, clip) -> (model, clip) with a LoRA on them
Patch = Callable[["Alloy", Link, Link], tuple[Link, Link]]
Loader = Callable[[Graph], tuple[Link, Link, Link]]


EXACT = "everything (exact)"  # Blend's target_rank


def rank(number: int) -> dict[str, Any]:
    """Blend's inputs for this rank."""
    return {"target_rank": "fixed rank", "target_rank.rank": number}


class Alloy(Graph):
    """A graph that knows our nodes' defaults, which it asks the server for."""

    def __init__(self, comfyui: Server) -> None:
        super().__init__()
        self.comfyui = comfyui

    def node(self, class_type: str, **given: Any) -> Node:
        """Add a node; inputs not given have their defaults, choices of dynamic combos too."""
        definition = self.comfyui.object_info()[class_type]["input"]
        inputs: dict[str, Any] = {}
        for name, (kind, options) in definition["required"].items():
            inputs |= _default(name, kind, options, given)
        return self.add(class_type, **(inputs | given))

    def load(self, name: str) -> Link:
        return self.node("LoraAlloyLoad", lora_name=name)[0]

    def show(self, text: Link) -> Node:
        """Add core's Preview as Text: text_of(entry, node) is then what it shows."""
        return self.add("PreviewAny", source=text)

    def apply(
        self,
        model: Link | None,
        clip: Link | None,
        lora: Link,
        strength_model: float = 1.0,
        strength_clip: float = 1.0,
    ) -> tuple[Link, Link]:
        linked = {k: v for k, v in (("model", model), ("clip", clip)) if v is not None}
        node = self.node(
            "LoraAlloyApply", lora=lora, **linked,
            strength_model=strength_model, strength_clip=strength_clip,
        )  # fmt: skip
        return node[0], node[1]


def _default(
    name: str, kind: str, options: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    if kind != "COMFY_DYNAMICCOMBO_V3":
        if "default" in options:
            return {name: options["default"]}
        return {name: options["options"][0]} if options.get("options") else {}
    choices = {choice["key"]: choice["inputs"]["required"] for choice in options["options"]}
    key = given.get(name, next(iter(choices)))
    inner = choices.get(key, {})
    nested = {f"{name}.{n}": inner[n][1]["default"] for n in inner}
    return {name: key, **nested}


def text_of(entry: Mapping[str, Any], node: Node) -> str:
    """What a Preview as Text node shows after a run."""
    return entry["outputs"][node.id]["text"][0]


def save(comfyui: Server, name: str, tensors: dict[str, Tensor], **metadata: str) -> str:
    """Put a LoRA file into the loras folder and return its name there."""
    file = f"{name}.safetensors"
    save_file(tensors, comfyui.folder("loras") / file, metadata)
    return file


def latent(comfyui: Server, patch: Patch | None = None, load: Loader = load_flux) -> Tensor:
    """The latent that a tiny model makes, with what `patch` does to it."""
    graph = Alloy(comfyui)
    model, clip, _ = load(graph)
    if patch is not None:
        model, clip = patch(graph, model, clip)
    generate(graph, model, clip)
    return comfyui.latent(comfyui.queue(graph))


def core_loras(*files: tuple[str, float]) -> Patch:
    """One of core's LoraLoaders per (file, strength), one after the other."""

    def patch(graph: Alloy, model: Link, clip: Link) -> tuple[Link, Link]:
        for name, strength in files:
            model, clip = core_lora(graph, model, clip, name, strength)
        return model, clip

    return patch


def applied(make: Callable[[Alloy], Link]) -> Patch:
    """Our Apply with the LoRA that `make` builds."""
    return lambda graph, model, clip: graph.apply(model, clip, make(graph))


def difference(a: Tensor, b: Tensor) -> float:
    """The distance of two latents as a share of the first."""
    return float((a - b).norm() / a.norm())
