"""OmniGen2."""

from ..family import Family

TABLE = """
{layers,noise_refiner,ref_image_refiner,context_refiner}.#.attn.{to_q,to_k,to_v,to_out.0,norm_q,norm_k}
{layers,noise_refiner,ref_image_refiner,context_refiner}.#.feed_forward.{linear_1,linear_2,linear_3}
{layers,noise_refiner,ref_image_refiner,context_refiner}.#.{norm1,norm1.linear,norm1.norm,norm2,ffn_norm1,ffn_norm2}
time_caption_embed.timestep_embedder.{linear_1,linear_2}
time_caption_embed.caption_embedder.{0,1}
{x_embedder,ref_image_patch_embedder}
*image_index_embedding
norm_out.{linear_1,linear_2}
"""

SHAPES = """
64x2520 840x2520 1024x256 1024x1024 2520x64 2520x1024 2520x2048 2520x2520 2520x10240 10080x1024 10240x2520
"""  # noqa: E501

FAMILY = Family(
    name="OmniGen2",
    order=190,
    table=TABLE,
    shapes=SHAPES,
    blocks={"layers": (32,)},
    metadata="omnigen2",
    prefixes=("",),
    encoders=("qwen25_3b",),
    lone_encoder=True,
    comfyui_models=("Omnigen2",),
)
