"""Block weights as LoRA Block Weight and the Inspire Pack write them: a number for each block.

    1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0    as `lbw=` takes it: BASE, IN01, ..., MID, OUT03, ...
    OUTD                                 the same by the name of the preset

How many numbers there are says which blocks they mean. Those of LoRA Block Weight start with BASE,
the text encoders, and leave blocks that they do not name as they are; the Inspire Pack's longer
ones (27, 21, 58) start with what is outside all of their blocks. Numbers drawn at random (R, U) are
not read.
"""

import re
from collections.abc import Sequence

from ..errors import SettingError
from .family import Family

Slots = Sequence[tuple[str, ...]]  # for each number of a vector the patterns of what it weighs


def _blocks(container: str, numbers: Sequence[int]) -> list[tuple[str, ...]]:
    return [(f"{container}.{number}",) for number in numbers]


def _unet(
    inputs: Sequence[int],
    outputs: Sequence[int],
    base: str = "te",
    middle: Slots = (("middle_block",),),
) -> Slots:
    return [
        (base,),
        *_blocks("input_blocks", inputs),
        *middle,
        *_blocks("output_blocks", outputs),
    ]


_MIDDLES = _blocks("middle_block", range(3))
_FLUX = [*_blocks("double_blocks", range(19)), *_blocks("single_blocks", range(38))]
_FLUX_INPUTS = ("img_in", "txt_in", "time_in", "vector_in", "guidance_in")
LAYOUTS: dict[str, list[Slots]] = {
    "SD1.5": [
        _unet((1, 2, 4, 5, 7, 8), range(3, 12)),
        _unet(range(12), range(12)),
        _unet(range(1, 12), range(12), "*", _MIDDLES),
    ],
    "SDXL": [
        _unet((4, 5, 7, 8), range(6)),
        _unet(range(9), range(9)),
        _unet(range(1, 9), range(9), "*", _MIDDLES),
    ],
    "Flux": [
        [("clip_l",), ("t5xxl",), _FLUX_INPUTS, *_FLUX, ("final_layer",)],
        [("*",), *_FLUX],
        _FLUX,
    ],
}
# Of the first layout: BASE, shallow and deep input blocks, MID, deep and shallow output blocks.
_GROUPS = {"SD1.5": (1, 3, 3, 1, 4, 5), "SDXL": (1, 2, 2, 1, 3, 3)}
_PRESETS = {
    "INS": (1, 1, 0, 0, 0, 0),
    "IND": (1, 0, 1, 0, 0, 0),
    "INALL": (1, 1, 1, 0, 0, 0),
    "MIDD": (1, 0, 1, 1, 1, 0),
    "MIDALL": (1, 0, 0, 1, 0, 0),
    "OUTD": (1, 0, 0, 0, 1, 0),
    "OUTS": (1, 0, 0, 0, 0, 1),
    "OUTALL": (1, 0, 0, 0, 1, 1),
}


def lengths(family: Family) -> list[int]:
    """How many numbers a vector for this family can have."""
    return [len(slots) for slots in LAYOUTS.get(family.name, ())]


def read_vector(text: str, family: Family) -> list[tuple[str, float]]:
    """(pattern, weight) for each block, the later ones stronger.

    Raises SettingError for what is no vector and no preset of the family.
    """
    layouts = LAYOUTS.get(family.name)
    if layouts is None:
        raise SettingError(
            f"block weights {text!r}: there are no vectors and presets for {family.name}",
            fix="write 'pattern: weight' lines",
        )
    numbers = _preset(text.strip(), family.name, len(layouts[0])) or _numbers(text)
    slots = next((slots for slots in layouts if len(slots) == len(numbers)), None)
    if slots is None:
        counts = ", ".join(map(str, lengths(family)))
        known = ", ".join(["NONE", "ALL", *(_PRESETS if family.name in _GROUPS else ())])
        raise SettingError(
            f"block weights {text!r} are no vector for {family.name}",
            fix=f"it takes {counts} numbers, separated by commas, or one of {known}; "
            "a line for some layers reads 'pattern: weight'",
        )
    pairs = zip(slots, numbers, strict=True)
    return [(pattern, number) for patterns, number in pairs for pattern in patterns]


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        return []


def _preset(text: str, family: str, length: int) -> list[float]:
    """The numbers of a preset, of the first layout; none where the text is no name of one."""
    name = re.sub(r"^(SD|SDXL|FLUX)-", "", text.upper())
    if name == "NONE":
        return [0.0] * length
    if every := re.fullmatch(r"ALL(\d*\.?\d*)", name):
        return [float(every[1] or 1)] * length if every[1] != "." else []
    if name not in _PRESETS or family not in _GROUPS:
        return []
    groups = zip(_PRESETS[name], _GROUPS[family], strict=True)
    return [float(weight) for weight, count in groups for _ in range(count)]
