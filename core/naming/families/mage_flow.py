"""MageFlow: a Qwen-Image of twelve blocks."""

from ..family import Family
from .qwen_image import TABLE

SHAPES = """
128x3072 3072x128 3072x256 3072x2560 3072x3072 3072x12288 6144x3072 12288x3072 18432x3072
"""

FAMILY = Family(
    name="MageFlow",
    order=300,
    table=TABLE,
    shapes=SHAPES,
    blocks={"transformer_blocks": (12,)},
    metadata="mageflow",
    prefixes=("", "transformer.", "lycoris_"),
    encoders=("qwen3vl_4b",),
    lone_encoder=True,
    comfyui_models=("MageFlow",),
)
