"""Small LoRAs, and `execute` as ComfyUI calls it: with every input, under inference mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .schemas import inputs_of

EXACT = {"target_rank": "everything (exact)"}
KOHYA = "lora_unet_double_blocks_{}_img_mlp_0"


def lora(seed: int = 0, rank: int = 4, blocks: int = 3, dtype: torch.dtype = torch.float32) -> dict:
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for i in range(blocks):
        name = KOHYA.format(i)
        scale = 4.0**-i
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, 16, generator=generator)
        tensors[f"{name}.lora_up.weight"] = torch.randn(64, rank, generator=generator) * scale
        tensors[f"{name}.alpha"] = torch.tensor(float(rank))
    return {key: tensor.to(dtype) for key, tensor in tensors.items()}


def dense(tensors: dict[str, Tensor], block: int) -> Tensor:
    name = KOHYA.format(block)
    up, down = (tensors[f"{name}.lora_{side}.weight"].double() for side in ("up", "down"))
    return up @ down * (float(tensors[f"{name}.alpha"]) / len(down))


def defaults(node: Any) -> dict[str, Any]:
    """What the page would send for a fresh node."""
    found: dict[str, Any] = {}
    for name, (kind, options, optional) in inputs_of(node).items():
        if kind == "COMFY_AUTOGROW_V3":
            found[name] = {}
        elif kind == "COMFY_DYNAMICCOMBO_V3":
            first = options["options"][0]
            nested = {k: v[1]["default"] for k, v in first["inputs"]["required"].items()}
            found[name] = {name: first["key"], **nested}
        elif "default" in options and not optional:
            found[name] = options["default"]
        elif options.get("options"):
            found[name] = options["options"][0]
    return found


def run(node: Any, **given: Any) -> Any:
    with torch.inference_mode():
        return node.execute(**(defaults(node) | given)).result
