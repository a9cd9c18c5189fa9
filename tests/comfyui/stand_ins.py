"""Tiny models and synthetic LoRAs with which the example workflows can run anywhere."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.comfyui import models
from tests.comfyui.example_parts import (
    ANTIBLUR,
    DETAILS,
    DRAWING,
    FENG,
    FILES,
    PIXEL,
    TOY,
    TUNED,
)
from tests.comfyui.loras import random_lora

# What the examples name -> what stands in for it. Pictures show these names: what is in them does
# not come from the real files.
STAND_INS = {
    "sd_xl_base_1.0.safetensors": "tiny_sd15.safetensors",
    TUNED: "tiny_sd15_tuned.safetensors",
    "flux1-dev.safetensors": "tiny_flux_57_blocks.safetensors",
    "clip_l.safetensors": "tiny_clip_l.safetensors",
    "t5xxl_fp16.safetensors": "tiny_clip_l.safetensors",
    "ae.safetensors": "tiny_flux_vae.safetensors",
    PIXEL: "synthetic_style.safetensors",
    TOY: "synthetic_character.safetensors",
    DRAWING: "synthetic_drawing.safetensors",
    FENG: "synthetic_ink.safetensors",
    DETAILS: "synthetic_flux_a.safetensors",
    ANTIBLUR: "synthetic_flux_b.safetensors",
}


def write_stand_ins(folder: Callable[[str], Path]) -> None:
    """The stand-ins that models.write has not made, and links to all of them by the real names."""
    wide, unet = models.flux(double=19, single=38), models.sd15_unet()
    save_file(wide, folder("diffusion_models") / STAND_INS["flux1-dev.safetensors"])
    checkpoint = models.sd15_checkpoint(models.clip_l())
    save_file(tuned(checkpoint), folder("checkpoints") / STAND_INS[TUNED])
    parts = {PIXEL: unet, TOY: unet, DETAILS: wide, ANTIBLUR: wide, DRAWING: unet, FENG: unet}
    for seed, (file, part) in enumerate(parts.items(), start=1):
        lora = random_lora(part, "generic", 32, seed, size=0.3)
        save_file(shaped(lora, seed), folder("loras") / STAND_INS[file])
    for real, tiny in STAND_INS.items():
        kind = FILES[real][0]
        (folder(kind) / real).symlink_to(folder(kind) / tiny)


def tuned(checkpoint: dict[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint after a training: in every matrix of its network a change that falls off."""
    change = random_lora(models.sd15_unet(), "generic", 32, 9, size=0.3)
    change, result = shaped(change, 9), dict(checkpoint)
    for key in change:
        raw = key.removesuffix(".lora_B.weight")
        if raw != key:
            weight = f"model.{raw}.weight"
            update = change[key].flatten(1) @ change[f"{raw}.lora_A.weight"].flatten(1)
            result[weight] = result[weight] + update.reshape(result[weight].shape)
    return result


def shaped(lora: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The LoRA with spectra that fall off, and with strengths that differ from block to block."""
    result = dict(lora)
    for key, tensor in lora.items():
        if not re.search(r"(lora_B|lora_up)\.weight$", key):
            continue
        numbers = [int(n) for n in re.findall(r"(?<=[._])(\d+)(?=[._])", key)]
        block = numbers[0] + (19 if "single" in key else 0) if numbers else 0
        wave = math.sin(block / 4.0 + seed) + math.sin(block / 1.7 + 2 * seed)
        falling = torch.tensor([1.5 * 0.75**i for i in range(tensor.shape[1])])
        result[key] = tensor * falling * math.exp(0.6 * wave)
    return result


def stand_in(text: str) -> str:
    """A file's stand-in, or a text with those of the files that it names."""
    for real, tiny in STAND_INS.items():
        text = text.replace(real, tiny)
    return text


def with_tiny_models(workflow: Mapping[str, Any], size: int = 64, steps: int = 2) -> dict[str, Any]:
    """The workflow with stand-ins, for a small picture in a few steps, with one text encoder."""
    small = copy.deepcopy(dict(workflow))
    for node in small["nodes"]:
        values = node.get("widgets_values") or []
        values[:] = [stand_in(v) if isinstance(v, str) else v for v in values]
        node["properties"].pop("models", None)
        if node["type"] == "DualCLIPLoader":
            node["type"] = node["properties"]["Node name for S&R"] = "CLIPLoader"
            node["widgets_values"] = [values[0], "stable_diffusion", "default"]
            node["inputs"] = []
        elif node["type"] in ("EmptyLatentImage", "EmptySD3LatentImage"):
            values[:2] = [size, size]
        elif node["type"] == "KSampler":
            values[2] = steps
    return small
