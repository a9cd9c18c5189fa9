"""Mochi."""

from ..family import Family

TABLE = """
blocks.#.attn.{qkv_x,qkv_y,proj_x,proj_y,q_norm_x,k_norm_x,q_norm_y,k_norm_y}
blocks.#.{mlp_x,mlp_y}.{w1,w2}
blocks.#.{mod_x,mod_y}
t5_y_embedder.{to_q,to_kv,to_out}
t5_yproj
*pos_frequencies
x_embedder.proj
t_embedder.mlp.{0,2}
final_layer.{mod,linear}
"""

FAMILY = Family(
    name="Mochi",
    order=210,
    table=TABLE,
    blocks={"blocks": (48,)},
    metadata="mochi",
    prefixes=("",),
)
