"""ACE-Step."""

from ..family import Family

TABLE = """
transformer_blocks.#.attn.{to_q,to_k,to_v,to_out.0}
transformer_blocks.#.cross_attn.{to_q,to_k,to_v,to_out.0}
transformer_blocks.#.cross_attn.{add_q_proj,add_k_proj,add_v_proj,to_add_out}
transformer_blocks.#.ff.{inverted_conv,depth_conv,point_conv}.conv
*transformer_blocks.#.scale_shift_table
timestep_embedder.{linear_1,linear_2}
t_block.1
{speaker_embedder,genre_embedder,lyric_embs,lyric_proj}
lyric_encoder.embed.out.{0,1}
lyric_encoder.after_norm
lyric_encoder.encoders.#.self_attn.{linear_q,linear_k,linear_v,linear_out,linear_pos}
*lyric_encoder.encoders.#.self_attn.{pos_bias_u,pos_bias_v}
lyric_encoder.encoders.#.feed_forward.{w_1,w_2}
lyric_encoder.encoders.#.{norm_ff,norm_mha}
projectors.#.{0,2,4}
proj_in.early_conv_layers.{0,1,2}
final_layer.linear
*final_layer.scale_shift_table
"""

SHAPES = """
128x2560 768x5120 1024x1024 1024x4096 1024x5120 2048x8 2560x256 2560x512 2560x768 2560x1024 2560x2048 2560x2560 2560x6400 4096x1024 5120x2560 5120x5120 6693x1024 12800x1 12800x2560 15360x2560
"""  # noqa: E501

FAMILY = Family(
    name="ACE-Step",
    order=240,
    table=TABLE,
    shapes=SHAPES,
    blocks={"transformer_blocks": (24,)},
    metadata="acestep(?!v?15)",
    prefixes=("",),
    encoders=("umt5base",),
    comfyui_models=("ACEStep",),
)
