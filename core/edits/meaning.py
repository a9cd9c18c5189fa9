"""What the text of a setting means for some files, from their headers alone: for pages.

The same code reads it here and in the edits, so what is shown is what will be done.
"""

from collections.abc import Sequence

from ..errors import SettingError
from ..naming.layers import Layers
from ..reading.inputs import file_names
from ..reading.lora import Lora
from .block_weights import parse_block_weights


def layer_weights(loras: Sequence[Lora], text: str) -> tuple[dict[str, list[float]], list[str]]:
    """({layer: a factor for each LoRA}, notes) of the block weights in `text`.

    `loras` are those that are blended, in their order. Layers whose factors are all 1 are left out.
    Notes say which patterns mean nothing here. Raises SettingError for a text that a blend of these
    would not take, and where there is no LoRA.

    >>> style = core.Lora(core.samples()[0])
    >>> weights, notes = core.layer_weights([style], "double_blocks.1: 0.5")
    >>> weights["double_blocks.1.img_attn.proj"]
    [0.5]
    """
    layers = _layers(loras)
    rule = parse_block_weights(text, layers, len(loras))
    found = {name: list(rule(name, raws)) for name, raws in layers.raws.items()}
    plain = [1.0] * len(loras)
    return {name: factors for name, factors in found.items() if factors != plain}, layers.notes


def selected_layers(loras: Sequence[Lora], text: str) -> tuple[list[str], list[str]]:
    """(the layers that the selector `text` means, notes), in the order of the `loras`.

    Raises SettingError for a pattern that means nothing, and where there is no LoRA.

    >>> style = core.Lora(core.samples()[0])
    >>> len(core.selected_layers([style], "double_blocks.1")[0])
    10
    """
    layers = _layers(loras)
    chosen = layers.selected(text)
    return [name for name in layers.raws if name in chosen], layers.notes


def _layers(loras: Sequence[Lora]) -> Layers:
    if not loras:
        raise SettingError("there is no LoRA", fix="connect one")
    raws: dict[str, list[str]] = {}
    for lora in loras:
        for name, module in lora.modules.items():
            raws.setdefault(name, []).append(module.raw)
    return Layers(raws, loras[0].family, file_names(lora.name for lora in loras))
