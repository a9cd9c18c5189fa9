"""HunyuanDiT."""

from ..family import Family

TABLE = """
blocks.#.attn1.Wqkv = ?blocks.#.attn1.{to_q,to_k,to_v} | blocks.#.attn1.Wqkv
blocks.#.attn2.q_proj = ?blocks.#.attn2.to_q | blocks.#.attn2.q_proj
blocks.#.attn2.kv_proj = ?blocks.#.attn2.{to_k,to_v} | blocks.#.attn2.kv_proj
blocks.#.{attn1,attn2}.out_proj = ?blocks.#.{attn1,attn2}.to_out.0 | blocks.#.{attn1,attn2}.out_proj
blocks.#.{attn1,attn2}.q_norm = ?blocks.#.{attn1,attn2}.norm_q | blocks.#.{attn1,attn2}.q_norm
blocks.#.{attn1,attn2}.k_norm = ?blocks.#.{attn1,attn2}.norm_k | blocks.#.{attn1,attn2}.k_norm
blocks.#.mlp.{fc1,fc2} = ?blocks.#.ff.{net.0.proj,net.2} | blocks.#.mlp.{fc1,fc2}
blocks.#.default_modulation.1 = ?blocks.#.norm1.linear | blocks.#.default_modulation.1
blocks.#.norm1 = ?blocks.#.norm1.norm | blocks.#.norm1
blocks.#.{norm2,norm3,skip_linear,skip_norm}
mlp_t5.{0,2} = ?text_embedder.{linear_1,linear_2} | mlp_t5.{0,2}
pooler.{q_proj,k_proj,v_proj,c_proj} = ?time_extra_emb.pooler.{q_proj,k_proj,v_proj,c_proj} | pooler.{q_proj,k_proj,v_proj,c_proj}
*{pooler.positional_embedding,text_embedding_padding}
x_embedder.proj = ?pos_embed.proj | x_embedder.proj
t_embedder.mlp.{0,2} = ?time_extra_emb.timestep_embedder.{linear_1,linear_2} | t_embedder.mlp.{0,2}
extra_embedder.{0,2} = ?time_extra_emb.extra_embedder.{linear_1,linear_2} | extra_embedder.{0,2}
style_embedder = ?time_extra_emb.style_embedder | style_embedder
final_layer.linear = ?proj_out | final_layer.linear
final_layer.adaLN_modulation.1 = ~?norm_out.linear | final_layer.adaLN_modulation.1
"""  # noqa: E501

SHAPES = """
1x1408 32x1408 1024x2048 1024x8192 1408x4 1408x256 1408x1024 1408x1408 1408x2816 1408x5632 1408x6144 2048x2048 2816x1024 2816x1408 4224x1408 5632x1024 5632x3968 6144x1408 8192x2048
"""  # noqa: E501

FAMILY = Family(
    name="HunyuanDiT",
    order=200,
    table=TABLE,
    shapes=SHAPES,
    blocks={"blocks": (40,)},
    cuts={r"kv_proj$": (1, 1)},
    metadata="hunyuandit",
    prefixes=("base_model.model.",),
    encoders=("hydit_clip", "mt5xl"),
    comfyui_models=(
        "HunyuanDiT",
        "HunyuanDiT1",
    ),
)
