"""Stable Cascade, the stage that LoRAs are trained for (C)."""

from ..family import Family

BLOCKS = "{down_blocks.0,down_blocks.1,up_blocks.0,up_blocks.1}"
TABLE = f"""
{BLOCKS}.#.attention.attn.to_q = ?{BLOCKS}.#.attention.to_q | {BLOCKS}.#.attention.attn.to_q
{BLOCKS}.#.attention.attn.to_k = ?{BLOCKS}.#.attention.to_k | {BLOCKS}.#.attention.attn.to_k
{BLOCKS}.#.attention.attn.to_v = ?{BLOCKS}.#.attention.to_v | {BLOCKS}.#.attention.attn.to_v
{BLOCKS}.#.attention.attn.out_proj = ?{BLOCKS}.#.attention.to_out.0 | {BLOCKS}.#.attention.attn.out_proj
{BLOCKS}.#.{{kv_mapper.1,channelwise.0,channelwise.4,depthwise,mapper,mapper_sca,mapper_crp}}
*{BLOCKS}.#.channelwise.2.{{gamma,beta}}
{{down_downscalers.1.1.blocks.0,up_upscalers.0.1.blocks.1}}
{{embedding.1,clf.1,clip_img_mapper,clip_txt_mapper,clip_txt_pooled_mapper}}
"""  # noqa: E501

SHAPES = """
16x1536 1536x1 1536x16 1536x1280 1536x1536 1536x6144 3072x64 6144x768 6144x1280 6144x1536 6144x3072
16x2048 2048x1 2048x16 2048x1280 2048x2048 2048x8192 4096x64 8192x768 8192x1280 8192x2048 8192x4096
"""

FAMILY = Family(
    name="Stable Cascade",
    order=390,
    table=TABLE,
    shapes=SHAPES,
    blocks={},
    metadata="stablecascade",
    prefixes=("lora_prior_unet_",),
    prefix="unet.",
    comfyui_models=(
        "Stable_Cascade_C",
        "Stable_Cascade_B",
    ),
)
