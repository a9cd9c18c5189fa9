"""HunyuanImage."""

from ..family import Family
from .hunyuan_video import BYT5, HUNYUAN, SINGLE_BLOCKS, TEXT

TABLE = (
    HUNYUAN
    + SINGLE_BLOCKS
    + TEXT
    + BYT5
    + """
time_in.{in_layer,out_layer} = ?time_guidance_embed.timestep_embedder.{linear_1,linear_2} | time_in.{in_layer,out_layer}
time_r_in.{in_layer,out_layer} = ?time_guidance_embed.timestep_embedder_r.{linear_1,linear_2} | time_r_in.{in_layer,out_layer}
guidance_in.{in_layer,out_layer} = ?time_guidance_embed.guidance_embedder.{linear_1,linear_2} | guidance_in.{in_layer,out_layer}
"""  # noqa: E501
)

SHAPES = """
64x3328 3328x128 3328x256 3328x3328 3328x3584 3328x13312 3328x16640 6656x3328 9984x3328 13312x3328 19968x3328 23296x3328
64x3584 2048x1472 2048x2048 3584x64 3584x256 3584x2048 3584x3584 3584x14336 3584x17920 7168x3584 10752x3584 14336x3584 21504x3584 25088x3584
"""  # noqa: E501

FAMILY = Family(
    name="HunyuanImage",
    order=31,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_blocks": (20,), "single_blocks": (40,)},
    metadata="hunyuanimage",
    prefixes=("transformer.", "diffusion_model."),
    rows_per_column={"single_blocks.#.linear1": 7, "double_blocks.#.img_mlp.0": 4},
    encoders=("byt5_small", "qwen25_7b"),
    diffusers_models=("HunyuanImageTransformer2DModel",),
    comfyui_models=(
        "HunyuanImage21Refiner",
        "HunyuanImage21",
    ),
)
