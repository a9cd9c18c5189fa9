"""Kinds whose meaning depends on the base weight: carried through whole, or refused by name."""

from .kind import Kind

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
)
GLORA = Kind(
    "GLoRA",
    {".a1.weight": "a1", ".a2.weight": "a2", ".b1.weight": "b1", ".b2.weight": "b2"},
    ("a1", "a2", "b1", "b2"),
    needs_base="it multiplies the base weight",
)
OFT = Kind(
    "OFT",
    {".oft_blocks": "blocks", ".oft_diag": "blocks", ".rescale": "rescale"},
    ("blocks",),
    needs_base="it rotates the base weight",
)
RESHAPE = Kind(
    "reshaped weight",
    {".reshape_weight": "reshape"},
    ("reshape",),
    needs_base="it enlarges the base weight",
)
SET = Kind(
    "set weight",
    {".set_weight": "values"},
    ("values",),
    needs_base="it replaces the base weight",
)
