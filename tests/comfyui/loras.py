"""Random LoRAs for the tiny models: one update, spelled as different trainers spell it.

The same model, rank, alpha and seed give the same dW in every spelling, so that what differs
between two pictures is what the software made of the spelling.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import torch
from torch import Tensor

StateDict = dict[str, Tensor]
Update = dict[str, tuple[Tensor, Tensor]]  # module -> (up [out, rank], down [rank, in])

SPELLINGS = ("kohya", "generic", "diffusers")

_IN_A_BLOCK = r"(double_blocks|single_blocks|transformer_blocks|encoder\.layers)\."

# diffusers' names for the modules of a Flux block. Where it splits what the Flux checkpoint fuses,
# the parts are listed in the order of their rows; all but the last are as tall as hidden size.
_DOUBLE = {
    "img_mod.lin": ["norm1.linear"],
    "txt_mod.lin": ["norm1_context.linear"],
    "img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "img_attn.proj": ["attn.to_out.0"],
    "txt_attn.proj": ["attn.to_add_out"],
    "img_mlp.0": ["ff.net.0.proj"],
    "img_mlp.2": ["ff.net.2"],
    "txt_mlp.0": ["ff_context.net.0.proj"],
    "txt_mlp.2": ["ff_context.net.2"],
}
_SINGLE = {
    "modulation.lin": ["norm.linear"],
    "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
    "linear2": ["proj_out"],
}

# kohya names an SD1.5 UNet by diffusers' blocks; these are the ones that the tiny UNet has.
_SD15_BLOCKS = {
    "input_blocks.1.1": "down_blocks.0.attentions.0",
    "middle_block.1": "mid_block.attentions.0",
    "output_blocks.0.1": "up_blocks.0.attentions.0",
    "output_blocks.1.1": "up_blocks.0.attentions.1",
}


def random_lora(
    model: StateDict,
    spelling: str = "kohya",
    rank: int = 4,
    seed: int = 0,
    *,
    alpha: float | None = None,
    size: float = 0.5,
    only: str = "*",
    dtype: torch.dtype = torch.float32,
) -> StateDict:
    """Return a LoRA file's tensors for the linear layers of a model's blocks.

    model: a state dict from models.py (flux, sd15_unet or clip_l).
    spelling: "kohya" (lora_unet_*, lora_te_*), "generic" (diffusion_model.*) or "diffusers"
        (transformer.*, with Flux's q, k and v apart; Flux only).
    alpha: what kohya's alpha is to be, rank unless given. It leaves the update as it is: the
        factors make up for it.
    size: the update's Frobenius norm as a share of the weight's.
    only: a pattern of the modules to include, as in "double_blocks.*".
    """
    update = random_update(model, rank, seed, size=size, only=only)
    if not update:
        raise ValueError(f"no linear layer of this model's blocks matches {only!r}")
    if spelling == "kohya":
        tensors = _kohya(update, alpha or rank)
    else:
        tensors = {"generic": _generic, "diffusers": _diffusers}[spelling](update)
    return {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}


def random_update(
    model: StateDict,
    rank: int = 4,
    seed: int = 0,
    *,
    size: float = 0.5,
    only: str = "*",
) -> Update:
    """Return the factors (up, down), by module, whose products are what random_lora adds."""
    generator = torch.Generator().manual_seed(seed)
    update: Update = {}
    for name, weight in model.items():
        module = name.removesuffix(".weight")
        if weight.dim() != 2 or not re.search(_IN_A_BLOCK, module):
            continue
        up = torch.randn(weight.shape[0], rank, generator=generator)
        down = torch.randn(rank, weight.shape[1], generator=generator)
        if fnmatchcase(module, only):  # after the draw: a module's update is the same either way
            norm = torch.linalg.matrix_norm(up @ down)
            update[module] = up * (size * torch.linalg.matrix_norm(weight.float()) / norm), down
    return update


def _kohya(update: Update, alpha: float) -> StateDict:
    tensors = {}
    for module, (up, down) in update.items():
        for block, name in _SD15_BLOCKS.items():
            if module.startswith(block + "."):
                module = name + module[len(block) :]
        name = ("lora_te_" if module.startswith("text_model.") else "lora_unet_") + module
        name = name.replace(".", "_")
        tensors[f"{name}.lora_down.weight"] = down
        tensors[f"{name}.lora_up.weight"] = up * (len(down) / alpha)
        tensors[f"{name}.alpha"] = torch.tensor(float(alpha))
    return tensors


def _generic(update: Update) -> StateDict:
    return _ab({f"diffusion_model.{module}": factors for module, factors in update.items()})


def _diffusers(update: Update) -> StateDict:
    split: Update = {}
    for module, (up, down) in update.items():
        kind, block, name = module.split(".", 2)
        double = kind == "double_blocks"
        prefix = "transformer_blocks" if double else "single_transformer_blocks"
        parts = (_DOUBLE if double else _SINGLE)[name]
        # Only fused q, k, v have parts, and they read from hidden size: down is as wide as each.
        rows = [down.shape[1]] * (len(parts) - 1)
        rows.append(len(up) - sum(rows))
        for part, piece in zip(parts, up.split(rows), strict=True):
            split[f"transformer.{prefix}.{block}.{part}"] = piece, down.clone()
    return _ab(split)


def _ab(update: Update) -> StateDict:
    tensors = {}
    for module, (up, down) in update.items():
        tensors[f"{module}.lora_A.weight"] = down
        tensors[f"{module}.lora_B.weight"] = up
    return tensors
