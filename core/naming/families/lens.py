"""Lens."""

from ..family import Family

TABLE = """
transformer_blocks.#.attn.{img_qkv,txt_qkv,to_out.0,to_add_out}
transformer_blocks.#.attn.{norm_q,norm_k,norm_added_q,norm_added_k}
transformer_blocks.#.{img,txt}_mlp.{w1,w2,w3}
transformer_blocks.#.{img,txt}_mod.1
transformer_blocks.#.{img_norm1,img_norm2,txt_norm1,txt_norm2}
{img_in,txt_in,txt_norm,proj_out}
txt_norm.#
time_text_embed.timestep_embedder.{linear_1,linear_2}
norm_out.linear
"""

SHAPES = """
128x1536 1536x128 1536x256 1536x1536 1536x4096 1536x11520 3072x1536 4096x1536 4608x1536 9216x1536
"""

FAMILY = Family(
    name="Lens",
    order=320,
    table=TABLE,
    shapes=SHAPES,
    blocks={"transformer_blocks": (48,)},
    metadata="lens",
    prefixes=(),
    comfyui_models=("Lens",),
)
