"""LTX-Video."""

from ..family import Family

TABLE = """
transformer_blocks.#.{attn1,attn2}.{to_q,to_k,to_v,to_out.0,q_norm,k_norm}
transformer_blocks.#.ff.net.{0.proj,2}
*transformer_blocks.#.scale_shift_table
{patchify_proj,proj_out,adaln_single.linear}
adaln_single.emb.timestep_embedder.{linear_1,linear_2}
caption_projection.{linear_1,linear_2}
*scale_shift_table
transformer_blocks.#.{audio_attn1,audio_attn2,audio_to_video_attn,video_to_audio_attn}.{to_q,to_k,to_v,to_out.0,q_norm,k_norm}
transformer_blocks.#.audio_ff.net.{0.proj,2}
*transformer_blocks.#.{audio_scale_shift_table,scale_shift_table_a2v_ca_audio,scale_shift_table_a2v_ca_video}
{audio,video}_embeddings_connector.transformer_1d_blocks.#.attn1.{to_q,to_k,to_v,to_out.0,q_norm,k_norm}
{audio,video}_embeddings_connector.transformer_1d_blocks.#.ff.net.{0.proj,2}
*{audio,video}_embeddings_connector.learnable_registers
{audio,av_ca_video_scale_shift,av_ca_audio_scale_shift,av_ca_a2v_gate,av_ca_v2a_gate}_adaln_single.linear
{audio,av_ca_video_scale_shift,av_ca_audio_scale_shift,av_ca_a2v_gate,av_ca_v2a_gate}_adaln_single.emb.timestep_embedder.{linear_1,linear_2}
audio_caption_projection.{linear_1,linear_2}
{audio_patchify_proj,audio_proj_out}
*audio_scale_shift_table
"""

FAMILY = Family(
    name="LTX-Video",
    order=70,
    table=TABLE,
    blocks={"transformer_blocks": (28, 48)},
    metadata="ltx",
    prefixes=("",),
)
