"""Lumina 2."""

from ..family import Family, called
from .z_image import NEXT_DIT

# Its attention is grouped: q has more rows than k and v, and nobody splits it rightly.
TABLE = (
    NEXT_DIT
    + """
{layers,noise_refiner,context_refiner}.#.adaLN_modulation.1 = ?{layers,noise_refiner,context_refiner}.#.adaLN_modulation.1
{layers,noise_refiner,context_refiner}.#.attention.qkv = ?{layers,noise_refiner,context_refiner}.#.attention.qkv
norm_final = ?norm_final
"""  # noqa: E501
)


FAMILY = Family(
    name="Lumina 2",
    order=90,
    table=TABLE,
    blocks={"layers": (26,)},
    metadata="lumina",
    prefixes=("diffusion_model.", "transformer.", "lycoris_", ""),
    called=(called("lumina2", "lumina-2/lora"),),
)
