"""PixArt."""

from ..family import Family

TABLE = """
blocks.#.attn.qkv = transformer_blocks.#.attn1.{to_q,to_k,to_v}
blocks.#.attn.proj = transformer_blocks.#.attn1.to_out.0
blocks.#.cross_attn.q_linear = transformer_blocks.#.attn2.to_q
blocks.#.cross_attn.kv_linear = transformer_blocks.#.attn2.{to_k,to_v}
blocks.#.cross_attn.proj = transformer_blocks.#.attn2.to_out.0
blocks.#.mlp.{fc1,fc2} = transformer_blocks.#.ff.{net.0.proj,net.2}
*blocks.#.scale_shift_table = transformer_blocks.#.scale_shift_table
t_block.1 = adaln_single.linear
t_embedder.mlp.{0,2} = adaln_single.emb.timestep_embedder.{linear_1,linear_2}
csize_embedder.mlp.{0,2} = adaln_single.emb.resolution_embedder.{linear_1,linear_2}
ar_embedder.mlp.{0,2} = adaln_single.emb.aspect_ratio_embedder.{linear_1,linear_2}
*y_embedder.y_embedding = caption_projection.y_embedding
y_embedder.y_proj.{fc1,fc2} = caption_projection.{linear_1,linear_2}
x_embedder.proj = pos_embed.proj
final_layer.linear = proj_out
*final_layer.scale_shift_table = scale_shift_table
"""

SHAPES = """
32x1152 384x256 384x384 1152x4 1152x256 1152x1152 1152x4096 1152x4608 2304x1152 3456x1152 4608x1152 6912x1152
"""  # noqa: E501

FAMILY = Family(
    name="PixArt",
    order=140,
    table=TABLE,
    shapes=SHAPES,
    blocks={"blocks": (28,)},
    metadata="pixart",
    prefixes=("transformer.", "base_model.model.", "unet.base_model.model."),
    encoders=("t5xxl",),
    comfyui_models=(
        "PixArtAlpha",
        "PixArtSigma",
    ),
)
