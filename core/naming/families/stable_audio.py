"""Stable Audio."""

from ..family import Family

TABLE = """
transformer.layers.#.self_attn.to_qkv = ?transformer_blocks.#.attn1.{to_q,to_k,to_v}
transformer.layers.#.self_attn.to_out = ?transformer_blocks.#.attn1.to_out.0
transformer.layers.#.cross_attn.to_q = ?transformer_blocks.#.attn2.to_q
transformer.layers.#.cross_attn.to_kv = ?transformer_blocks.#.attn2.{to_k,to_v}
transformer.layers.#.cross_attn.to_out = ?transformer_blocks.#.attn2.to_out.0
transformer.layers.#.ff.ff.{0.proj,2} = ?transformer_blocks.#.ff.{net.0.proj,net.2}
*transformer.layers.#.{pre_norm,cross_attend_norm,ff_norm}.{gamma,beta}
*transformer.layers.#.{self_attn,cross_attn}.{q_norm,k_norm}.gamma
*transformer.layers.#.to_scale_shift_gate
transformer.{project_in,project_out} = ?{proj_in,proj_out}
transformer.global_cond_embedder.{0,2}
*transformer.{memory_tokens,rotary_pos_emb.inv_freq}
to_timestep_embed.{0,2} = ?timestep_proj.{0,2}
to_cond_embed.{0,2} = ?cross_attention_proj.{0,2}
to_global_embed.{0,2} = ?global_proj.{0,2}
timestep_features = -
preprocess_conv = ?preprocess_conv
postprocess_conv = ?postprocess_conv
"""

SHAPES = """
64x64 64x1536 128x1 768x768 1536x64 1536x256 1536x768 1536x1536 1536x6144 4608x1536 9216x1536 12288x1536
"""  # noqa: E501

FAMILY = Family(
    name="Stable Audio",
    order=380,
    table=TABLE,
    shapes=SHAPES,
    blocks={},
    metadata="stableaudio",
    prefixes=(),
    encoders=("t5base",),
    comfyui_models=(
        "StableAudio3",
        "StableAudio",
    ),
)
