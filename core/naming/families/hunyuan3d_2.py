"""Hunyuan3D 2: Flux's blocks for shapes."""

import re

from ..family import Family
from .flux import TABLE as FLUX

TABLE = (
    "\n".join(
        line.partition(" = ")[0]
        for line in FLUX.splitlines()
        if re.match("double_blocks|single_blocks|final_layer", line) and "[" not in line
    )
    + """
time_in.{in_layer,out_layer}
guidance_in.{in_layer,out_layer}
{latent_in,cond_in}
"""
)

SHAPES = """
64x1024 1024x64 1024x256 1024x1024 1024x1536 1024x4096 1024x5120 2048x1024 3072x1024 4096x1024 6144x1024 7168x1024
"""  # noqa: E501

FAMILY = Family(
    name="Hunyuan3D 2",
    order=360,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_blocks": (8, 16), "single_blocks": (16, 32)},
    metadata="hunyuan3d2(?!1)",
    prefixes=(),
    rows_per_column={"single_blocks.#.linear1": 7, "double_blocks.#.img_mlp.0": 4},
    comfyui_models=(
        "Hunyuan3Dv2mini",
        "Hunyuan3Dv2",
    ),
)
