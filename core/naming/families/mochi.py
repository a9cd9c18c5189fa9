"""Mochi."""

from ..family import Family

TABLE = """
blocks.#.attn.qkv_x = ?transformer_blocks.#.attn1.{to_q,to_k,to_v} | blocks.#.attn.qkv_x
blocks.#.attn.qkv_y = ?transformer_blocks.#.attn1.{add_q_proj,add_k_proj,add_v_proj} | blocks.#.attn.qkv_y
blocks.#.attn.{proj_x,proj_y} = ?transformer_blocks.#.attn1.{to_out.0,to_add_out} | blocks.#.attn.{proj_x,proj_y}
blocks.#.attn.{q_norm_x,q_norm_y} = ?transformer_blocks.#.attn1.{norm_q,norm_added_q} | blocks.#.attn.{q_norm_x,q_norm_y}
blocks.#.attn.{k_norm_x,k_norm_y} = ?transformer_blocks.#.attn1.{norm_k,norm_added_k} | blocks.#.attn.{k_norm_x,k_norm_y}
blocks.#.{mlp_x,mlp_y}.w1 = ~?transformer_blocks.#.{ff,ff_context}.net.0.proj | blocks.#.{mlp_x,mlp_y}.w1
blocks.#.{mlp_x,mlp_y}.w2 = ?transformer_blocks.#.{ff,ff_context}.net.2 | blocks.#.{mlp_x,mlp_y}.w2
blocks.47.mod_y = ?transformer_blocks.47.norm1_context.linear_1 | blocks.47.mod_y
blocks.#.{mod_x,mod_y} = ?transformer_blocks.#.{norm1,norm1_context}.linear | blocks.#.{mod_x,mod_y}
t5_y_embedder.{to_q,to_kv,to_out} = ?time_embed.pooler.{to_q,to_kv,to_out} | t5_y_embedder.{to_q,to_kv,to_out}
t5_yproj = ?time_embed.caption_proj | t5_yproj
*pos_frequencies
x_embedder.proj = ?patch_embed.proj | x_embedder.proj
t_embedder.mlp.{0,2} = ?time_embed.timestep_embedder.{linear_1,linear_2} | t_embedder.mlp.{0,2}
final_layer.mod = ~?norm_out.linear | final_layer.mod
final_layer.linear = ?proj_out | final_layer.linear
"""  # noqa: E501

SHAPES = """
48x3072 1536x3072 1536x4096 3072x12 3072x256 3072x1536 3072x3072 3072x4096 3072x8192 4096x4096 6144x3072 8192x1536 8192x4096 9216x1536 9216x3072 12288x3072 16384x3072
"""  # noqa: E501

FAMILY = Family(
    name="Mochi",
    order=210,
    table=TABLE,
    shapes=SHAPES,
    blocks={"blocks": (48,)},
    cuts={r"qkv_y$": (1, 1, 1)},
    metadata="mochi",
    prefixes=("",),
    encoders=("t5xxl",),
    diffusers_models=("MochiTransformer3DModel",),
    comfyui_models=("GenmoMochi",),
)
