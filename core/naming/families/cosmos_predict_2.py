"""Cosmos Predict2 / Anima."""

from ..family import Family

TABLE = """
blocks.#.self_attn.{q_proj,k_proj,v_proj,output_proj} = ?transformer_blocks.#.attn1.{to_q,to_k,to_v,to_out.0}
blocks.#.cross_attn.{q_proj,k_proj,v_proj,output_proj} = ?transformer_blocks.#.attn2.{to_q,to_k,to_v,to_out.0}
blocks.#.{self_attn,cross_attn}.q_norm = ?transformer_blocks.#.{attn1,attn2}.norm_q
blocks.#.{self_attn,cross_attn}.k_norm = ?transformer_blocks.#.{attn1,attn2}.norm_k
blocks.#.mlp.{layer1,layer2} = ?transformer_blocks.#.ff.{net.0.proj,net.2}
blocks.#.adaln_modulation_{self_attn,cross_attn,mlp}.1 = ?transformer_blocks.#.{norm1,norm2,norm3}.linear_1
blocks.#.adaln_modulation_{self_attn,cross_attn,mlp}.2 = ?transformer_blocks.#.{norm1,norm2,norm3}.linear_2
t_embedder.1.{linear_1,linear_2} = ?time_embed.t_embedder.{linear_1,linear_2}
t_embedding_norm = ?time_embed.norm
x_embedder.proj.1 = ?patch_embed.proj
final_layer.linear = ?proj_out
final_layer.adaln_modulation.{1,2} = ?norm_out.{linear_1,linear_2}
llm_adapter.blocks.#.{self_attn,cross_attn}.{q_proj,k_proj,v_proj,o_proj,q_norm,k_norm} = -
llm_adapter.blocks.#.{mlp.0,mlp.2,norm_self_attn,norm_cross_attn,norm_mlp} = -
llm_adapter.{embed,out_proj,norm} = -
"""  # noqa: E501

SHAPES = """
64x2048 256x2048 1024x1024 1024x4096 2048x68 2048x1024 2048x2048 2048x8192 4096x256 4096x1024 6144x256 6144x2048 8192x2048 32128x1024
64x5120 256x5120 5120x68 5120x1024 5120x5120 5120x20480 10240x256 15360x256 15360x5120 20480x5120
"""  # noqa: E501

FAMILY = Family(
    name="Cosmos Predict2 / Anima",
    order=170,
    table=TABLE,
    shapes=SHAPES,
    blocks={"blocks": (28, 36)},
    metadata="cosmos(?!1)|anima",
    prefixes=(),
    encoders=("qwen3_06b",),
    lone_encoder=True,
    diffusers_models=("CosmosTransformer3DModel",),
    comfyui_models=(
        "CosmosT2IPredict2",
        "CosmosI2VPredict2",
        "Anima",
    ),
)
