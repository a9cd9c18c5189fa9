"""Kinds whose meaning depends on the base weight: carried through whole, refused by name, or made
plain updates where the base is at hand (`with_base.py`)."""

from dataclasses import replace

from .kind import Dimensions, Kind, Shapes, register
from .loha import LOHA
from .lokr import LOKR
from .lora import LORA
from .with_base import boft, dora, glora, oft, replaced


def glora_dimensions(shapes: Shapes) -> Dimensions:
    return Dimensions((shapes["b1"][0], *shapes["b2"][1:]))


GLORA = register(
    Kind(
        "GLoRA",
        ({".a1.weight": "a1", ".a2.weight": "a2", ".b1.weight": "b1", ".b2.weight": "b2"},),
        ("a1", "a2", "b1", "b2"),
        dimensions=glora_dimensions,
        needs_base="it multiplies the base weight",
        precedence=4,
        on_base=glora,
    )
)
OFT = register(
    Kind(
        "OFT",
        tuple({blocks: "blocks", ".rescale": "rescale"} for blocks in (".oft_blocks", ".oft_diag")),
        ("blocks",),
        needs_base="it rotates the base weight",
        precedence=5,
        on_base=oft,
    )
)
# Stored under the same names as OFT, with one dimension more.
BOFT = replace(OFT, name="BOFT", on_base=boft)
SET = register(
    Kind(
        "set weight",
        ({".set_weight": "values"},),
        ("values",),
        needs_base="it replaces the base weight",
        ranked=False,
        precedence=8,
        on_base=replaced,
    )
)
# PEFT's mean another thing, and ComfyUI does not read them.
PEFT_MAGNITUDES = (
    ".lora_magnitude_vector",
    ".lora_magnitude_vector.weight",
    ".lora_magnitude_vector.default.weight",
)
DORA = register(
    Kind(
        "DoRA",
        ({".dora_scale": "magnitude"}, *({end: "peft magnitude"} for end in PEFT_MAGNITUDES)),
        (),
        needs_base="its magnitude rescales the base weight",
        way_out="drop the magnitude (drop_magnitude), which changes what it does",
        modifies=(LORA, LOHA, LOKR, GLORA, OFT),
        precedence=9,
        on_base=dora,
    )
)
RESHAPE = register(
    Kind(
        "reshaped weight",
        ({".reshape_weight": "reshape"},),
        ("reshape",),
        needs_base="it enlarges the base weight",
        modifies=(LORA,),
        precedence=10,
    )
)
