"""The names of a model's own weights, as checkpoints and model files have them.

A checkpoint puts a prefix before the names of each part of the model; a file of a diffusion model
alone has none, or one of those that LoRA files have, too. What is left is a name of a family.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .family import Family, fill, flatten

# In checkpoints -> what LoRA files put before the same names. OpenCLIP's have names of their own.
PARTS = {
    "model.diffusion_model.": "diffusion_model.",
    "conditioner.embedders.0.transformer.": "text_encoders.clip_l.transformer.",
    "conditioner.embedders.1.model.": "text_encoders.clip_g.transformer.",
    "conditioner.embedders.0.model.": "text_encoders.clip_g.transformer.",
    "cond_stage_model.transformer.": "text_encoders.clip_l.transformer.",
    "cond_stage_model.model.": "text_encoders.clip_h.transformer.",
    "text_encoders.": "text_encoders.",
    "text_encoder.": "text_encoder.",
    "text_encoder_2.": "text_encoder_2.",
    "text_encoder_3.": "text_encoder_3.",
}
# Before all names of a file of a diffusion model alone.
ALONE = ("diffusion_model.", "transformer.", "unet.", "net.")
# Of a file of one text encoder alone.
ENCODERS = {
    "text_model.": "text_encoder.text_model.",
    "encoder.block.": "text_encoders.t5xxl.transformer.encoder.block.",
}
# What can stand beside the weights that LoRAs change: the VAE, averages.
OTHERS = re.compile(r"(first_stage_model|vae|model_ema|cond_stage_model|conditioner)\.")

OPEN_CLIP = Family(
    name="OpenCLIP",
    table="""
transformer.resblocks.#.attn.in_proj = text_model.encoder.layers.#.self_attn.{q_proj,k_proj,v_proj}
transformer.resblocks.#.attn.out_proj = text_model.encoder.layers.#.self_attn.out_proj
transformer.resblocks.#.mlp.c_fc = text_model.encoder.layers.#.mlp.fc1
transformer.resblocks.#.mlp.c_proj = text_model.encoder.layers.#.mlp.fc2
transformer.resblocks.#.ln_1 = text_model.encoder.layers.#.layer_norm1
transformer.resblocks.#.ln_2 = text_model.encoder.layers.#.layer_norm2
ln_final = text_model.final_layer_norm
token_embedding = text_model.embeddings.token_embedding
positional_embedding = text_model.embeddings.position_embedding
""",
)


def readings(keys: Iterable[str]) -> list[dict[str, str]]:
    """The ways to read a model: {the stored name of a module: the same as LoRA files have it}.

    `keys` are names of modules: keys of tensors without `.weight` and the like. Only what LoRAs
    change is there. A model alone can have a prefix, or names that begin with the same word: there
    the names in the families' tables have to decide.
    """
    keys = list(keys)
    if any(key.startswith("model.diffusion_model.") for key in keys):
        return [_read(keys, PARTS)]
    alone = (p for p in ALONE if sum(key.startswith(p) for key in keys) * 2 > len(keys))
    return [_read(keys, {prefix: "diffusion_model."} | PARTS | ENCODERS) for prefix in ("", *alone)]


def _read(keys: Iterable[str], prefixes: dict[str, str]) -> dict[str, str]:
    found = {}
    longest_first = sorted(prefixes, key=len, reverse=True)
    for key in keys:
        prefix = next((p for p in longest_first if key.startswith(p)), None)
        if prefix is not None and not (prefix == "" and OTHERS.match(key)):
            found[key] = prefixes[prefix] + key[len(prefix) :]
    return found


def open_clip_names(raw: str) -> list[str]:
    """The names of a weight of OpenCLIP's in transformers' CLIP, one for each part of its rows."""
    prefix, transformer, path = raw.partition(".transformer.")
    found = OPEN_CLIP.find(flatten(path))
    if not transformer or found is None:
        return [raw]
    match, numbers = found
    names = match.row.diffusers or (match.row.native,)
    return [f"{prefix}.transformer.{fill(name, numbers)}" for name in names]
