"""Builds graphs in ComfyUI's API format, and the parts of them that every test needs.

    graph = Graph()
    model, clip, vae = load_flux(graph)
    shift = graph.add("ModelSamplingSD3", model=model, shift=3.0)
    generate(graph, shift[0], clip, vae)

The API format has no defaults: every input that is not optional must be given.
"""

from __future__ import annotations

from typing import Any

Link = list[Any]  # [node id, which output]


class Node:
    """A node in a graph: node[0] is a link to its first output, node.inputs can be changed."""

    def __init__(self, node_id: str, inputs: dict[str, Any]) -> None:
        self.id = node_id
        self.inputs = inputs

    def __getitem__(self, output: int) -> Link:
        return [self.id, output]


class Graph(dict[str, Any]):
    """A graph in API format, by node id, that nodes can be added to."""

    def add(self, class_type: str, **inputs: Any) -> Node:
        """Add a node. Inputs are values or links; dotted ones go in as **{"method.seed": 1}."""
        node = Node(str(len(self) + 1), inputs)
        self[node.id] = {"class_type": class_type, "inputs": inputs}
        return node


def load_flux(graph: Graph) -> tuple[Link, Link, Link]:
    """Add loaders for the tiny Flux; return links to its model, clip and vae."""
    model = graph.add("UNETLoader", unet_name="tiny_flux.safetensors", weight_dtype="default")
    clip = graph.add("CLIPLoader", clip_name="tiny_clip_l.safetensors", type="stable_diffusion")
    vae = graph.add("VAELoader", vae_name="tiny_flux_vae.safetensors")
    return model[0], clip[0], vae[0]


def load_sd15(graph: Graph) -> tuple[Link, Link, Link]:
    """Add a loader for the tiny SD1.5 checkpoint; return links to its model, clip and vae."""
    checkpoint = graph.add("CheckpointLoaderSimple", ckpt_name="tiny_sd15.safetensors")
    return checkpoint[0], checkpoint[1], checkpoint[2]


def core_lora(
    graph: Graph, model: Link, clip: Link, name: str, strength: float = 1.0
) -> tuple[Link, Link]:
    """Add core's LoraLoader, what our nodes are compared with; return links to model and clip."""
    loader = graph.add(
        "LoraLoader", model=model, clip=clip, lora_name=name,
        strength_model=strength, strength_clip=strength,
    )  # fmt: skip
    return loader[0], loader[1]


def train_lora(graph: Graph, model: Link, clip: Link, vae: Link, *, rank: int = 2) -> Link:
    """Add core's TrainLoraNode, one step on one grey image; return a link to its LORA_MODEL."""
    image = graph.add("EmptyImage", width=64, height=64, batch_size=1, color=0x808080)
    latent = graph.add("VAEEncode", pixels=image[0], vae=vae)
    text = graph.add("CLIPTextEncode", clip=clip, text="a photo")
    # Without checkpointing core's Flux cannot be trained: it changes activations in place.
    training = graph.add(
        "TrainLoraNode", model=model, latents=latent[0], positive=text[0], rank=rank,
        batch_size=1, grad_accumulation_steps=1, steps=1, learning_rate=0.01, seed=1,
        optimizer="AdamW", loss_function="MSE", algorithm="LoRA", existing_lora="[None]",
        training_dtype="fp32", lora_dtype="fp32", quantized_backward=False, offloading=False,
        gradient_checkpointing=True, checkpoint_depth=1, bucket_mode=False, bypass_mode=False,
    )  # fmt: skip
    return training[0]


def generate(
    graph: Graph,
    model: Link,
    clip: Link,
    vae: Link | None = None,
    *,
    prompt: str = "a photo",
    seed: int = 1,
    steps: int = 2,
    size: int = 64,
) -> Node:
    """Add what turns a model into a saved latent and, given a vae, a saved image.

    Returns the sampler. One run saves one latent unless this is called more than once.
    """
    text = graph.add("CLIPTextEncode", clip=clip, text=prompt)
    empty = graph.add("EmptyLatentImage", width=size, height=size, batch_size=1)
    sampler = graph.add(
        "KSampler", model=model, positive=text[0], negative=text[0], latent_image=empty[0],
        seed=seed, steps=steps, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
    )  # fmt: skip
    graph.add("SaveLatent", samples=sampler[0], filename_prefix="latents/test")
    if vae is not None:
        image = graph.add("VAEDecode", samples=sampler[0], vae=vae)
        graph.add("SaveImage", images=image[0], filename_prefix="test")
    return sampler
