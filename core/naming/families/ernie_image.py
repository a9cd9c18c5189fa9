"""ERNIE-Image."""

from ..family import Family

TABLE = """
layers.#.self_attention.{to_q,to_k,to_v,to_out.0,norm_q,norm_k}
layers.#.{mlp.gate_proj,mlp.up_proj,mlp.linear_fc2,adaLN_sa_ln,adaLN_mlp_ln}
x_embedder.proj
text_proj
time_embedding.{linear_1,linear_2}
adaLN_modulation.1
final_norm.linear
final_linear
"""

FAMILY = Family(
    name="ERNIE-Image",
    order=220,
    table=TABLE,
    blocks={"layers": (36,)},
    metadata="ernie",
    prefixes=("transformer.",),
)
