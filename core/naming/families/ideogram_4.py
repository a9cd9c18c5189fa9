"""Ideogram 4."""

from ..family import Family

TABLE = """
layers.#.attention.qkv = ?layers.#.attention.{to_q,to_k,to_v}
layers.#.attention.o = ?layers.#.attention.to_out.0
layers.#.attention.{norm_q,norm_k}
layers.#.feed_forward.{w1,w2,w3}
layers.#.{adaln_modulation,attention_norm1,attention_norm2,ffn_norm1,ffn_norm2}
t_embedding.{mlp_in,mlp_out}
{adaln_proj,embed_image_indicator,input_proj,llm_cond_norm,llm_cond_proj}
final_layer.{adaln_modulation,linear}
"""

SHAPES = """
2x4608 128x4608 512x4608 4608x128 4608x512 4608x4608 4608x12288 4608x53248 12288x4608 13824x4608 18432x512
"""  # noqa: E501

FAMILY = Family(
    name="Ideogram 4",
    order=260,
    table=TABLE,
    shapes=SHAPES,
    blocks={"layers": (34,)},
    metadata="ideogram4",
    prefixes=(),
    encoders=("qwen3vl_8b",),
    lone_encoder=True,
    diffusers_models=("Ideogram4Transformer2DModel",),
    comfyui_models=("Ideogram4",),
)
