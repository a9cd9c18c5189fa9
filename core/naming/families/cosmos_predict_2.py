"""Cosmos Predict2 / Anima."""

from ..family import Family

TABLE = """
blocks.#.{self_attn,cross_attn}.{q_proj,k_proj,v_proj,output_proj,q_norm,k_norm}
blocks.#.mlp.{layer1,layer2}
blocks.#.adaln_modulation_{self_attn,cross_attn,mlp}.{1,2}
t_embedder.1.{linear_1,linear_2}
t_embedding_norm
x_embedder.proj.1
final_layer.{linear,adaln_modulation.1,adaln_modulation.2}
llm_adapter.blocks.#.{self_attn,cross_attn}.{q_proj,k_proj,v_proj,o_proj,q_norm,k_norm}
llm_adapter.blocks.#.{mlp.0,mlp.2,norm_self_attn,norm_cross_attn,norm_mlp}
llm_adapter.{embed,out_proj,norm}
"""

FAMILY = Family(
    name="Cosmos Predict2 / Anima",
    order=170,
    table=TABLE,
    blocks={"blocks": (28, 36)},
    metadata="cosmos|anima",
    prefixes=(),
)
