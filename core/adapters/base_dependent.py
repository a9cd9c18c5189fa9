"""Kinds whose meaning depends on the base weight: carried through whole, or refused by name."""

from .kind import Kind, Measure, Shapes
from .loha import LOHA
from .lokr import LOKR
from .lora import LORA


def measure_glora(shapes: Shapes) -> Measure:
    return Measure((shapes["b1"][0], *shapes["b2"][1:]))


GLORA = Kind(
    "GLoRA",
    {".a1.weight": "a1", ".a2.weight": "a2", ".b1.weight": "b1", ".b2.weight": "b2"},
    ("a1", "a2", "b1", "b2"),
    measure=measure_glora,
    needs_base="it multiplies the base weight",
)
OFT = Kind(
    "OFT",
    {".oft_blocks": "blocks", ".oft_diag": "blocks", ".rescale": "rescale"},
    ("blocks",),
    needs_base="it rotates the base weight",
)
# Stored under the same names as OFT, with one dimension more.
BOFT = Kind("BOFT", {}, OFT.required, needs_base=OFT.needs_base)
SET = Kind(
    "set weight",
    {".set_weight": "values"},
    ("values",),
    needs_base="it replaces the base weight",
)
DORA = Kind(
    "DoRA",
    {
        ".dora_scale": "magnitude",
        ".lora_magnitude_vector": "magnitude",
        ".lora_magnitude_vector.weight": "magnitude",
        ".lora_magnitude_vector.default.weight": "magnitude",
    },
    ("magnitude",),
    needs_base="its magnitude rescales the base weight",
    way_out="drop the magnitude (--drop-magnitude), which changes what it does",
    modifies=(LORA, LOHA, LOKR, GLORA, OFT),
)
RESHAPE = Kind(
    "reshaped weight",
    {".reshape_weight": "reshape"},
    ("reshape",),
    needs_base="it enlarges the base weight",
    modifies=(LORA,),
)
