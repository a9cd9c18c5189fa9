"""HunyuanDiT."""

from ..family import Family

TABLE = """
blocks.#.attn1.{Wqkv,out_proj,q_norm,k_norm}
blocks.#.attn2.{q_proj,kv_proj,out_proj,q_norm,k_norm}
blocks.#.{mlp.fc1,mlp.fc2,default_modulation.1,skip_linear,skip_norm,norm1,norm2,norm3}
mlp_t5.{0,2}
pooler.{q_proj,k_proj,v_proj,c_proj}
*{pooler.positional_embedding,text_embedding_padding}
x_embedder.proj
t_embedder.mlp.{0,2}
extra_embedder.{0,2}
final_layer.{linear,adaLN_modulation.1}
"""

FAMILY = Family(
    name="HunyuanDiT",
    order=200,
    table=TABLE,
    blocks={"blocks": (40,)},
    metadata="hunyuandit",
    prefixes=("base_model.model.",),
)
