"""Boogu: OmniGen2 with a stage of two streams in front."""

from ..family import Family

TABLE = """
double_stream_layers.#.img_instruct_attn.processor.{img_to_q,img_to_k,img_to_v,img_out}
double_stream_layers.#.img_instruct_attn.processor.{instruct_to_q,instruct_to_k,instruct_to_v,instruct_out}
double_stream_layers.#.img_instruct_attn.{to_out.0,norm_q,norm_k}
double_stream_layers.#.img_self_attn.{to_q,to_k,to_v,to_out.0,norm_q,norm_k}
double_stream_layers.#.{img,instruct}_feed_forward.{linear_1,linear_2,linear_3}
double_stream_layers.#.{img_norm1,img_norm2,img_norm3,instruct_norm1,instruct_norm2}.{linear,norm}
double_stream_layers.#.{img_attn_norm,img_self_attn_norm,img_ffn_norm1,img_ffn_norm2,instruct_attn_norm,instruct_ffn_norm1,instruct_ffn_norm2}
{single_stream_layers,noise_refiner,ref_image_refiner,context_refiner}.#.attn.{to_q,to_k,to_v,to_out.0,norm_q,norm_k}
{single_stream_layers,noise_refiner,ref_image_refiner,context_refiner}.#.feed_forward.{linear_1,linear_2,linear_3}
{single_stream_layers,noise_refiner,ref_image_refiner,context_refiner}.#.{norm1,norm1.linear,norm1.norm,norm2,ffn_norm1,ffn_norm2}
time_caption_embed.timestep_embedder.{linear_1,linear_2}
time_caption_embed.caption_embedder.{0,1}
{x_embedder,ref_image_patch_embedder}
*image_index_embedding
norm_out.{linear_1,linear_2}
"""

SHAPES = """
64x3360 840x3360 1024x256 1024x1024 3360x64 3360x1024 3360x3360 3360x4096 3360x13568 13440x1024 13568x3360
"""  # noqa: E501

FAMILY = Family(
    name="Boogu",
    order=290,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_stream_layers": (8,), "single_stream_layers": (32,)},
    metadata="boogu",
    prefixes=("",),
    encoders=("qwen3vl_8b",),
    lone_encoder=True,
    comfyui_models=("Boogu",),
)
