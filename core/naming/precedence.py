"""Which names ComfyUI's loader finds, and which of several it takes.

Its key map has every name of every weight of the loaded models (comfy/lora.py, comfy/utils.py).
"""

from .family import UNKNOWN, Family, fill, flatten
from .spelling import TEXT_PREFIX, kind_of, resolve, split_prefix, text_order
from .text_encoders import OF_KOHYA, several


def _text_precedence(raw: str, prefix: str, path: str, family: Family) -> tuple[int, int]:
    """Where ComfyUI's key map has a name of a text encoder among those of the same weight."""
    name = resolve(raw, family)
    order, kind = text_order(name), kind_of(name)
    if kind == "clip":
        return (0, order.index(prefix)) if prefix in order else (-1, 0)
    if prefix == "text_encoders.":
        # The name without an encoder is that of the first, and means the last.
        return int(path.startswith("transformer.") != several(kind, family)), 0
    known = family is not UNKNOWN
    read = {
        "t5": prefix in order and not (known and OF_KOHYA not in (family.encoders or (OF_KOHYA,))),
        "bert": prefix == "lora_te1_",
        "language model": prefix == "lora_te_" and (family.lone_encoder or not known),
    }[kind]
    return (2, order.index(prefix)) if read else (-1, 0)


def precedence(raw: str, family: Family) -> tuple[int, int]:
    """Where ComfyUI's key map has a name among all names of the same weight.

    Its loader goes through the map in order, and the last name that a file has takes the weight.
    For every weight come the model's own names, then those of diffusers, one after the other in the
    order of the family's table; each with one prefix after the other. A name with a prefix that the
    map lacks comes before all that it has: ComfyUI does not read it.
    """
    prefix, path = split_prefix(raw)
    if TEXT_PREFIX.fullmatch(prefix):
        return _text_precedence(raw, prefix, path, family)
    found = family.find(flatten(path))
    if found is None:
        # A layer that the table lacks can be there, under the model's own name.
        order = ("lora_unet_", "diffusion_model.")
        return (0, order.index(prefix)) if prefix in order else (-1, 0)
    match, row, own = found[0], found[0].row, fill(found[0].row.native, found[1])
    place, prefixes = match.order, family.prefixes
    if not place and "." in path and match.whole and path != own:
        place = 1  # a name that differs from the model's own by a dot
    if row.lone or (not match.whole and not place):
        prefixes = ("diffusion_model.",)
    elif not place:
        # Where diffusers has no name of its own, its prefixes go before the model's.
        prefixes = ("lora_unet_", "diffusion_model.", *(prefixes if row.prefixed else ()))
    elif family.processors:
        # Attention is called `processor.to_q` after dotted prefixes and `to_q` after the others.
        place = 1
        if ".processor." in row.diffusers[0] and (".processor." in path) == prefix.endswith("_"):
            return -1, 0
    if "?" in match.mark or row.foreign or prefix not in prefixes:
        return -1, 0
    return place, prefixes.index(prefix)


def is_read(raw: str, family: Family) -> bool:
    """Whether ComfyUI's key map of this family has the name."""
    return precedence(raw, family)[0] >= 0
