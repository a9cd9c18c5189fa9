"""Tiny models with random weights that a real ComfyUI detects, loads and samples.

They draw noise, but the same noise every time, and every weight matters: that is all a test of
LoRA arithmetic needs. Each function returns a state dict; `write` puts the usual set into a
server's models folders under these names:

    diffusion_models/tiny_flux.safetensors   Flux, hidden size 128, 4 + 6 blocks     17 MB
    checkpoints/tiny_sd15.safetensors        SD1.5 UNet of one level, CLIP-L, VAE   360 MB
    text_encoders/tiny_clip_l.safetensors    CLIP-L, as large as ever: ComfyUI       247 MB
                                             knows only the one size
    vae/tiny_flux_vae.safetensors            TAESD with Flux's 16 channels            10 MB
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
StateDict = dict[str, Tensor]

TEXT = 768  # what CLIP-L gives, and all that these models take


def write(folder: Callable[[str], Path]) -> None:
    """Save the models into folder("diffusion_models"), folder("vae") and so on."""
    text = clip_l()
    save_file(text, folder("text_encoders") / "tiny_clip_l.safetensors")
    save_file(flux(), folder("diffusion_models") / "tiny_flux.safetensors")
    save_file(taesd(16), folder("vae") / "tiny_flux_vae.safetensors")
    save_file(sd15_checkpoint(text), folder("checkpoints") / "tiny_sd15.safetensors")


def flux(hidden: int = 128, double: int = 4, single: int = 6, seed: int = 0) -> StateDict:
    """Return a Flux (dev: with guidance). hidden is a multiple of 128, the size of its heads."""
    mlp = 4 * hidden
    shapes = {
        **_linear("img_in", 64, hidden),
        **_linear("txt_in", TEXT, hidden),
        **_linear("final_layer.linear", hidden, 64),
        **_linear("final_layer.adaLN_modulation.1", hidden, 2 * hidden),
    }
    for name, size in {"time_in": 256, "guidance_in": 256, "vector_in": TEXT}.items():
        shapes |= _linear(f"{name}.in_layer", size, hidden)
        shapes |= _linear(f"{name}.out_layer", hidden, hidden)
    for i in range(double):
        for side in (f"double_blocks.{i}.img_", f"double_blocks.{i}.txt_"):
            shapes |= {
                **_linear(f"{side}mod.lin", hidden, 6 * hidden),
                **_linear(f"{side}attn.qkv", hidden, 3 * hidden),
                f"{side}attn.norm.query_norm.scale": (128,),
                f"{side}attn.norm.key_norm.scale": (128,),
                **_linear(f"{side}attn.proj", hidden, hidden),
                **_linear(f"{side}mlp.0", hidden, mlp),
                **_linear(f"{side}mlp.2", mlp, hidden),
            }
    for i in range(single):
        block = f"single_blocks.{i}."
        shapes |= {
            **_linear(f"{block}modulation.lin", hidden, 3 * hidden),
            **_linear(f"{block}linear1", hidden, 3 * hidden + mlp),
            f"{block}norm.query_norm.scale": (128,),
            f"{block}norm.key_norm.scale": (128,),
            **_linear(f"{block}linear2", hidden + mlp, hidden),
        }
    return _random(shapes, seed)


def sd15_checkpoint(text: StateDict, seed: int = 0) -> StateDict:
    """Return an SD1.5 checkpoint: the UNet, this CLIP-L, and a TAESD for a VAE."""
    return {
        **{f"model.diffusion_model.{k}": v for k, v in sd15_unet(seed).items()},
        **{f"cond_stage_model.transformer.{k}": v for k, v in text.items()},
        # What is left of the noise is not for SD1.5's usual scale: 0.02 brings it to about one.
        **{f"first_stage_model.{k}": v for k, v in taesd(4, seed, scale=0.02).items()},
    }


def sd15_unet(seed: int = 0) -> StateDict:
    """Return an SD1.5 UNet cut down to one level of one block: 320 channels is what defines it."""
    wide, time = 320, 1280
    shapes = {
        **_linear("time_embed.0", wide, time),
        **_linear("time_embed.2", time, time),
        **_conv("input_blocks.0.0", 4, wide),
        **_residual("input_blocks.1.0", wide, wide, time),
        **_transformer("input_blocks.1.1", wide),
        **_residual("middle_block.0", wide, wide, time),
        **_transformer("middle_block.1", wide),
        **_residual("middle_block.2", wide, wide, time),
        **_norm("out.0", wide),
        **_conv("out.2", wide, 4),
    }
    for i in range(2):  # one block more than on the way in; each takes a skip connection too
        shapes |= _residual(f"output_blocks.{i}.0", 2 * wide, wide, time)
        shapes |= _transformer(f"output_blocks.{i}.1", wide)
    return _random(shapes, seed)


def clip_l(seed: int = 0) -> StateDict:
    """Return a CLIP-L text encoder in float16."""
    shapes: Shapes = {
        "text_model.embeddings.token_embedding.weight": (49408, TEXT),
        "text_model.embeddings.position_embedding.weight": (77, TEXT),
        **_norm("text_model.final_layer_norm", TEXT),
        "text_projection.weight": (TEXT, TEXT),
    }
    for i in range(12):
        layer = f"text_model.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{layer}.self_attn.{name}", TEXT, TEXT)
        shapes |= {
            **_norm(f"{layer}.layer_norm1", TEXT),
            **_norm(f"{layer}.layer_norm2", TEXT),
            **_linear(f"{layer}.mlp.fc1", TEXT, 4 * TEXT),
            **_linear(f"{layer}.mlp.fc2", 4 * TEXT, TEXT),
        }
    return _random(shapes, seed, torch.float16)


def taesd(channels: int, seed: int = 0, scale: float = 1.0) -> StateDict:
    """Return a TAESD, the tiny VAE that ComfyUI knows, for latents with this many channels.

    scale: what it multiplies a latent with before decoding.
    """
    encoder = {
        **_conv("taesd_encoder.0", 3, 64),
        **_taesd_blocks("taesd_encoder", [1, 3, 4, 5, 7, 8, 9, 11, 12, 13], resize=[2, 6, 10]),
        **_conv("taesd_encoder.14", 64, channels),
    }
    decoder = {
        **_conv("taesd_decoder.1", channels, 64),
        **_taesd_blocks("taesd_decoder", [3, 4, 5, 8, 9, 10, 13, 14, 15, 18], resize=[7, 12, 17]),
        **_conv("taesd_decoder.19", 64, 3),
    }
    weights = _random({**encoder, **decoder}, seed)
    # Mid-grey with some contrast, so that a picture shows what changed instead of clipping.
    weights["taesd_decoder.19.weight"] *= 0.1
    weights["taesd_decoder.19.bias"].fill_(0.5)
    return {**weights, "vae_scale": torch.tensor(scale), "vae_shift": torch.tensor(0.0)}


# -- parts: the shapes of one module's tensors, by name ------------------------------------------


def _linear(name: str, inputs: int, outputs: int, bias: bool = True) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (outputs, inputs)}
    return {**shapes, f"{name}.bias": (outputs,)} if bias else shapes


def _conv(name: str, inputs: int, outputs: int, size: int = 3, bias: bool = True) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (outputs, inputs, size, size)}
    return {**shapes, f"{name}.bias": (outputs,)} if bias else shapes


def _norm(name: str, size: int) -> Shapes:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _residual(name: str, inputs: int, outputs: int, time: int) -> Shapes:
    skip = _conv(f"{name}.skip_connection", inputs, outputs, 1) if inputs != outputs else {}
    return {
        **_norm(f"{name}.in_layers.0", inputs),
        **_conv(f"{name}.in_layers.2", inputs, outputs),
        **_linear(f"{name}.emb_layers.1", time, outputs),
        **_norm(f"{name}.out_layers.0", outputs),
        **_conv(f"{name}.out_layers.3", outputs, outputs),
        **skip,
    }


def _transformer(name: str, size: int) -> Shapes:
    block = f"{name}.transformer_blocks.0"
    shapes = {
        **_norm(f"{name}.norm", size),
        **_conv(f"{name}.proj_in", size, size, 1),
        **_conv(f"{name}.proj_out", size, size, 1),
        **_linear(f"{block}.ff.net.0.proj", size, 8 * size),
        **_linear(f"{block}.ff.net.2", 4 * size, size),
    }
    for attention, context in {"attn1": size, "attn2": TEXT}.items():
        shapes |= _linear(f"{block}.{attention}.to_q", size, size, bias=False)
        shapes |= _linear(f"{block}.{attention}.to_k", context, size, bias=False)
        shapes |= _linear(f"{block}.{attention}.to_v", context, size, bias=False)
        shapes |= _linear(f"{block}.{attention}.to_out.0", size, size)
    for norm in ("norm1", "norm2", "norm3"):
        shapes |= _norm(f"{block}.{norm}", size)
    return shapes


def _taesd_blocks(name: str, blocks: list[int], resize: list[int]) -> Shapes:
    shapes: Shapes = {}
    for i in blocks:
        for j in (0, 2, 4):
            shapes |= _conv(f"{name}.{i}.conv.{j}", 64, 64)
    for i in resize:
        shapes |= _conv(f"{name}.{i}", 64, 64, bias=False)
    return shapes


def _random(shapes: Shapes, seed: int, dtype: torch.dtype = torch.float32) -> StateDict:
    """Fill the shapes: weights keep a signal's size, norms start at one, biases are small."""
    generator = torch.Generator().manual_seed(seed)
    weights: StateDict = {}
    for name, shape in shapes.items():
        if len(shape) == 1 and not name.endswith(".bias"):
            weights[name] = torch.ones(shape, dtype=dtype)
            continue
        scale = 0.02 if len(shape) == 1 else 1 / math.sqrt(math.prod(shape[1:]))
        weights[name] = (torch.randn(shape, generator=generator) * scale).to(dtype)
    return weights
