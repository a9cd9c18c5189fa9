"""LTX-Video; LTX-2 and 2.3, which have a stream for sound."""

from ..family import Family

# Diffusers' names of most of what is outside the blocks, which ComfyUI does not read.
ADALN = (
    "{adaln_single,prompt_adaln_single,audio_prompt_adaln_single,audio_adaln_single,"
    "av_ca_video_scale_shift_adaln_single,av_ca_audio_scale_shift_adaln_single,"
    "av_ca_a2v_gate_adaln_single,av_ca_v2a_gate_adaln_single}"
)
THEIRS = (
    "{time_embed,prompt_adaln,audio_prompt_adaln,audio_time_embed,"
    "av_cross_attn_video_scale_shift,av_cross_attn_audio_scale_shift,"
    "av_cross_attn_video_a2v_gate,av_cross_attn_audio_v2a_gate}"
)
ATTENTIONS = "{attn1,attn2,audio_attn1,audio_attn2,audio_to_video_attn,video_to_audio_attn}"
TABLE = f"""
transformer_blocks.#.{ATTENTIONS}.{{to_q,to_k,to_v,to_out.0,to_gate_logits}}
transformer_blocks.#.{ATTENTIONS}.q_norm = ?transformer_blocks.#.{ATTENTIONS}.norm_q | transformer_blocks.#.{ATTENTIONS}.q_norm
transformer_blocks.#.{ATTENTIONS}.k_norm = ?transformer_blocks.#.{ATTENTIONS}.norm_k | transformer_blocks.#.{ATTENTIONS}.k_norm
transformer_blocks.#.{{ff,audio_ff}}.net.{{0.proj,2}}
*transformer_blocks.#.{{scale_shift_table,audio_scale_shift_table,scale_shift_table_a2v_ca_audio,scale_shift_table_a2v_ca_video}}
*transformer_blocks.#.{{prompt_scale_shift_table,audio_prompt_scale_shift_table}}
{ADALN}.linear = ?{THEIRS}.linear | {ADALN}.linear
{ADALN}.emb.timestep_embedder.linear_1 = ?{THEIRS}.emb.timestep_embedder.linear_1 | {ADALN}.emb.timestep_embedder.linear_1
{ADALN}.emb.timestep_embedder.linear_2 = ?{THEIRS}.emb.timestep_embedder.linear_2 | {ADALN}.emb.timestep_embedder.linear_2
{{patchify_proj,audio_patchify_proj}} = ?{{proj_in,audio_proj_in}} | {{patchify_proj,audio_patchify_proj}}
{{proj_out,audio_proj_out}}
{{caption_projection,audio_caption_projection}}.{{linear_1,linear_2}}
*{{scale_shift_table,audio_scale_shift_table}}
*keyframes_abs_pos_embedding
{{audio,video}}_embeddings_connector.transformer_1d_blocks.#.attn1.{{to_q,to_k,to_v,to_out.0,q_norm,k_norm,to_gate_logits}} = -
{{audio,video}}_embeddings_connector.transformer_1d_blocks.#.ff.net.{{0.proj,2}} = -
*{{audio,video}}_embeddings_connector.learnable_registers
"""  # noqa: E501

SHAPES = """
32x2048 32x4096 128x2048 128x4096 2048x128 2048x256 2048x2048 2048x3840 2048x4096 2048x8192 3840x3840 3840x15360 4096x128 4096x256 4096x2048 4096x3840 4096x4096 4096x16384 8192x2048 8192x4096 12288x2048 15360x3840 16384x4096 18432x2048 24576x4096 36864x4096
128x4096 4096x128 4096x256 4096x4096 4096x16384 16384x4096 24576x4096
"""  # noqa: E501

FAMILY = Family(
    name="LTX-Video",
    order=70,
    table=TABLE,
    shapes=SHAPES,
    blocks={"transformer_blocks": (28, 48)},
    metadata="ltx",
    prefixes=("",),
    encoders=("t5xxl", "gemma3_12b"),
    diffusers_models=(
        "LTXVideoTransformer3DModel",
        "LTX2VideoTransformer3DModel",
    ),
    comfyui_models=(
        "LTXV",
        "LTXAV",
    ),
)
