"""Who reads a LoRA: the programs, and which modules they find under the names that it has.

* ComfyUI: every name of its key map (naming/precedence.py), and every kind with a place in its
  loader.
* diffusers: its own names (of a UNet also kohya's), with the factors of PEFT and no alpha, LoRA or
  PEFT's DoRA. It converts some more files on its own, not all of any family
  (loaders/lora_conversion_utils.py): what is for diffusers should have its names.
* A1111: kohya's names of Stable Diffusion's UNets and CLIPs (extensions-builtin/Lora/networks.py
  takes what stands before the first dot for the name of a layer).
"""

from ..adapters.adapter import Adapter
from ..naming.family import UNKNOWN, Family
from ..naming.precedence import is_read
from ..naming.spelling import (
    DIFFUSERS,
    TEXT_PREFIX,
    resolve,
    spell,
    split_prefix,
    standard_spelling,
)
from ..naming.text_encoders import TEXT_ENCODERS

COMFYUI, FOR_DIFFUSERS, A1111 = "comfyui", "diffusers", "a1111"
READERS = (COMFYUI, FOR_DIFFUSERS, A1111)
CALLED = {COMFYUI: "ComfyUI", FOR_DIFFUSERS: "diffusers", A1111: "A1111"}
KOHYA = (".lora_up.weight", ".lora_down.weight")
# The ends of keys that PEFT knows, which diffusers has underneath.
PEFT = (
    *(".lora_A.weight", ".lora_B.weight", ".lora_B.bias", ".lora_magnitude_vector"),
    *(".lora_magnitude_vector.weight", ".lora.up.weight", ".lora.down.weight"),
    *("_lora.up.weight", "_lora.down.weight"),
    *(".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
)
A1111_PREFIXES = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")


def finds(reader: str, raw: str, family: Family, adapter: Adapter) -> bool:
    """Whether one of READERS finds a module by its raw name, and knows how it is stored.

    Of a model that no table knows nothing is known to be missing.
    """
    prefix, _ = split_prefix(raw)
    encoder = TEXT_PREFIX.fullmatch(prefix) is not None
    if reader == COMFYUI:
        known = family is not UNKNOWN or encoder
        return adapter.kind.precedence > 0 and (not known or is_read(raw, family))
    kohya = prefix in A1111_PREFIXES and (family.processors or family is UNKNOWN)
    if encoder and resolve(raw, family).native not in TEXT_ENCODERS["clip"].rows:
        return False
    if reader == A1111:
        return kohya and adapter.kind.precedence > 0
    if kohya and set(adapter.suffixes.values()) <= set(KOHYA):
        return True
    return is_peft(adapter) and (family is UNKNOWN or raw in _own_names(raw, family))


def is_peft(adapter: Adapter) -> bool:
    """Whether it is stored as PEFT stores LoRA."""
    return "alpha" not in adapter.keys and set(adapter.suffixes.values()) <= set(PEFT)


def _own_names(raw: str, family: Family) -> set[str]:
    """What diffusers calls the module of this name, in UNets before and after version 0.20."""
    spelling = standard_spelling(DIFFUSERS, family)
    name = spell(resolve(raw, family).part, spelling, family) if family.diffusers_models else None
    if name is None:
        return set()
    return {name, name.replace(".processor.to_out", ".to_out.0").replace(".processor.", ".")}
