"""CogVideoX."""

from ..family import Family

TABLE = """
blocks.#.{q,k,v,attn_out} = transformer_blocks.#.attn1.{to_q,to_k,to_v,to_out.0}
blocks.#.{norm_q,norm_k} = transformer_blocks.#.attn1.{norm_q,norm_k}
blocks.#.{ff_proj,ff_out} = transformer_blocks.#.ff.{net.0.proj,net.2}
blocks.#.{norm1,norm2}.{linear,norm} = transformer_blocks.#.{norm1,norm2}.{linear,norm}
patch_embed.{proj,text_proj}
{time,ofs}_embedding_linear_1 = {time,ofs}_embedding.linear_1
{time,ofs}_embedding_linear_2 = {time,ofs}_embedding.linear_2
norm_final
norm_out.{linear,norm}
proj_out
"""

SHAPES = """
64x1920 512x512 512x1920 1920x16 1920x1920 1920x4096 1920x7680 3840x512 7680x1920 11520x512
64x3072 128x3072 512x512 512x3072 3072x16 3072x256 3072x3072 3072x4096 3072x12288 6144x512 12288x3072 18432x512
"""  # noqa: E501

FAMILY = Family(
    name="CogVideoX",
    order=230,
    table=TABLE,
    shapes=SHAPES,
    blocks={"blocks": (30, 42)},
    metadata="cogvideo",
    prefixes=(),
    encoders=("t5xxl",),
    diffusers_models=("CogVideoXTransformer3DModel",),
    comfyui_models=(
        "CogVideoX_Inpaint",
        "CogVideoX_I2V",
        "CogVideoX_T2V",
    ),
)
