"""What example workflows are made of: their files, and the parts that several of them have.

A window of 1600 x 900 pixels shows an example at 70 % or more: it has 2150 x 1150 at most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HUB = "https://huggingface.co"
FLUX_TEXT = f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main"
# file -> (models folder, where to get it)
FILES = {
    "sd_xl_base_1.0.safetensors": (
        "checkpoints", f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main"),
    "sdxl_lightning_4step.safetensors": (
        "checkpoints", f"{HUB}/ByteDance/SDXL-Lightning/resolve/main"),
    "flux1-dev.safetensors": (
        "diffusion_models", f"{HUB}/Comfy-Org/flux1-dev/resolve/main"),
    "clip_l.safetensors": ("text_encoders", FLUX_TEXT),
    "t5xxl_fp16.safetensors": ("text_encoders", FLUX_TEXT),
    "ae.safetensors": (
        "vae", f"{HUB}/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae"),
    "pixel-art-xl.safetensors": ("loras", f"{HUB}/nerijs/pixel-art-xl/resolve/main"),
    "toy_face_sdxl.safetensors": ("loras", f"{HUB}/CiroN2022/toy-face/resolve/main"),
    "ikea_instructions_xl_v1_5.safetensors": (
        "loras", f"{HUB}/ostris/ikea-instructions-lora-sdxl/resolve/main"),
    "fengzikai_v1.0_XL.safetensors": ("loras", f"{HUB}/lordjia/by-feng-zikai/resolve/main"),
    "FLUX-dev-lora-add_details.safetensors": (
        "loras", f"{HUB}/Shakker-Labs/FLUX.1-dev-LoRA-add-details/resolve/main"),
    "FLUX-dev-lora-AntiBlur.safetensors": (
        "loras", f"{HUB}/Shakker-Labs/FLUX.1-dev-LoRA-AntiBlur/resolve/main"),
}  # fmt: skip
PIXEL, TOY = "pixel-art-xl.safetensors", "toy_face_sdxl.safetensors"
TUNED = "sdxl_lightning_4step.safetensors"
DRAWING, FENG = "ikea_instructions_xl_v1_5.safetensors", "fengzikai_v1.0_XL.safetensors"
DETAILS, ANTIBLUR = (
    "FLUX-dev-lora-add_details.safetensors",
    "FLUX-dev-lora-AntiBlur.safetensors",
)

Wire = tuple[str, str]  # (node's name, its output)


@dataclass
class Spec:
    """One node of an example: where it stands, what its widgets say, what feeds its inputs."""

    name: str
    type: str
    pos: tuple[int, int]
    size: tuple[int, int] = (0, 0)  # 0: as small as it can be
    widgets: dict[str, Any] = field(default_factory=dict)
    links: dict[str, Wire] = field(default_factory=dict)
    title: str = ""

    @property
    def files(self) -> list[str]:
        """The files that its widgets name, rows of LoRA Blend included."""
        texts = [value for value in self.widgets.values() if isinstance(value, str)]
        return [file for file in FILES for text in texts if file in re.split(r"[:\n]", text)]

    def spec(self) -> dict[str, Any]:
        files = self.files
        needs = [{"name": f, "url": f"{FILES[f][1]}/{f}", "directory": FILES[f][0]} for f in files]
        properties = {"models": needs} if needs else {}
        return {**vars(self), "properties": properties}


@dataclass
class Example:
    """The nodes of a workflow, and boxes around some of them: title -> their names."""

    title: str
    nodes: list[Spec]
    groups: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The note ends with where to get what the other nodes name."""
        needed = {file: FILES[file] for node in self.nodes for file in node.files}
        lines = [f"* [{f}]({url}/{f}) in `{folder}`" for f, (folder, url) in needed.items()]
        self.nodes[0].widgets[""] += "\n\n**Models**\n\n" + "\n".join(lines)


def note(text: str, size: tuple[int, int]) -> Spec:
    """The first node of an example."""
    return Spec("note", "MarkdownNote", (0, 0), size, {"": text}, {}, "What this does")


def load(name: str, file: str, pos: tuple[int, int]) -> Spec:
    # As tall as what it says of a file.
    return Spec(name, "LoraAlloyLoad", pos, (340, 440), {"lora_name": file})


def text(name: str, wire: Wire, pos: tuple[int, int], size: tuple[int, int], title: str) -> Spec:
    return Spec(name, "PreviewAny", pos, size, {}, {"source": wire}, title)


def sdxl(pos: tuple[int, int]) -> list[Spec]:
    x, y = pos
    return [
        Spec("base", "CheckpointLoaderSimple", (x, y), (340, 0),
             {"ckpt_name": "sd_xl_base_1.0.safetensors"}),
    ]  # fmt: skip


def flux(pos: tuple[int, int]) -> list[Spec]:
    x, y = pos
    return [
        Spec("base", "UNETLoader", (x, y), (340, 0),
             {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"}),
        Spec("text", "DualCLIPLoader", (x, y + 160), (340, 0),
             {"clip_name1": "clip_l.safetensors", "clip_name2": "t5xxl_fp16.safetensors",
              "type": "flux"}),
        Spec("vae", "VAELoader", (x, y + 370), (340, 0), {"vae_name": "ae.safetensors"}),
    ]  # fmt: skip


def prompt(name: str, clip: Wire, words: str, pos: tuple[int, int], title: str = "") -> Spec:
    return Spec(name, "CLIPTextEncode", pos, (340, 110), {"text": words}, {"clip": clip}, title)


def generate(
    name: str, links: Mapping[str, Wire], vae: Wire, settings: dict[str, Any],
    pos: tuple[int, int], image: tuple[int, int], title: str,
) -> list[Spec]:  # fmt: skip
    """KSampler and VAEDecode below each other, and the picture at a place of its own."""
    x, y = pos
    defaults = {"seed": 20, "control_after_generate": "fixed"}
    return [
        Spec(f"{name}.sampler", "KSampler", (x, y), (300, 0), defaults | settings, dict(links)),
        Spec(f"{name}.decode", "VAEDecode", (x, y + 340), (300, 0), {},
             {"samples": (f"{name}.sampler", "LATENT"), "vae": vae}),
        Spec(f"{name}.image", "SaveImage", image, (340, 330),
             {"filename_prefix": f"lora-alloy/{name}"}, {"images": (f"{name}.decode", "IMAGE")},
             title),
    ]  # fmt: skip


def latent(pos: tuple[int, int], type: str = "EmptyLatentImage") -> Spec:
    return Spec("latent", type, pos, (340, 0), {"width": 1024, "height": 1024, "batch_size": 1})


def conditions(
    model: Wire, positive: str = "positive", negative: str = "negative"
) -> dict[str, Wire]:
    """What a KSampler is fed."""
    return {
        "model": model,
        "positive": (positive, "CONDITIONING"),
        "negative": (negative, "CONDITIONING"),
        "latent_image": ("latent", "LATENT"),
    }


SDXL_SETTINGS = {"steps": 25, "cfg": 7.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
FLUX_SETTINGS = {"steps": 20, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
