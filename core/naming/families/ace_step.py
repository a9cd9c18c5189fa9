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

FAMILY = Family(
    name="ACE-Step",
    order=240,
    table=TABLE,
    blocks={"transformer_blocks": (24,)},
    metadata="acestep(?!v?15)",
    prefixes=("",),
)
