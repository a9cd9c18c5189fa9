"""NewBie: Lumina 2 with more layers and pooled text."""

from ..family import Family
from .lumina_2 import CUTS
from .lumina_2 import TABLE as LUMINA_2

TABLE = (
    LUMINA_2
    + """
clip_text_pooled_proj.{0,1} = ?clip_text_pooled_proj.{0,1}
time_text_embed.1 = ?time_text_embed.1
"""
)

SHAPES = """
64x2304 768x2304 1024x256 1024x1024 1024x2048 2304x64 2304x1024 2304x2304 2304x2560 2304x9216 3840x2304 9216x1024 9216x2304
"""  # noqa: E501

FAMILY = Family(
    name="NewBie",
    order=310,
    table=TABLE,
    shapes=SHAPES,
    blocks={"layers": (36,)},
    cuts=CUTS,
    metadata="newbie",
    prefixes=("diffusion_model.", "transformer.", "lycoris_", ""),
    encoders=("gemma",),
    comfyui_models=("Lumina2",),
)
