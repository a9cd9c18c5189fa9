"""Which modules a trainer would put into a LoRA file, and what it would call them.

The names come from the key maps; what is chosen here is which of a weight's names, and which
weights, a typical file in a given spelling holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .key_maps import FAMILIES, Target, load

SPELLINGS = ("kohya", "generic", "diffusers")
# The weights that trainers target unless told otherwise: the linear layers inside the blocks.
_UNET = r"transformer_blocks\.|proj_(in|out)$"
_TYPICAL = {
    "flux": r"^(double|single)_blocks\.",
    "qwen-image": r"^transformer_blocks\.",
    "sd1.5": _UNET,
    "sdxl": _UNET,
    "wan2.1-14b": r"^blocks\.",
    "z-image": r"^(layers|noise_refiner|context_refiner)\.",
}
_ATTENTION = r"attn|attention\.|^single_blocks\.\d+\.linear"
# Family -> its text encoders: key map, prefix in kohya's spelling, prefix in diffusers'.
_TEXT_ENCODERS = {
    "sd1.5": [("clip-l", "lora_te_", "text_encoder.")],
    "sdxl": [("clip-l", "lora_te1_", "text_encoder."), ("clip-g", "lora_te2_", "text_encoder_2.")],
}


@dataclass(frozen=True)
class Module:
    """One LoRA module to write.

    name: key without suffix. identity: the same text for the same (part of a) weight under every
    spelling. shape: (out, in) or (out, in, *kernel) of what the module changes.
    """

    name: str
    identity: str
    shape: tuple[int, ...]


def select(
    family: str, spelling: str, modules: str | None = None, text_encoders: bool = False
) -> list[Module]:
    """The modules that a file holds, ordered by name.

    modules: None for those that trainers target, "attention", "all", or patterns of weight names
        separated by commas, such as "double_blocks.0.*".
    text_encoders: adds those of SDXL and SD1.5, as far as `modules` matches them.

    Raises ValueError for an unknown family or spelling, a spelling that the family does not have,
    modules that match nothing, and text encoders that are not known.
    """
    if family not in FAMILIES:
        raise ValueError(f"family is one of {', '.join(FAMILIES)}, not {family!r}")
    if spelling not in SPELLINGS:
        raise ValueError(f"spelling is one of {', '.join(SPELLINGS)}, not {spelling!r}")
    found = list(_diffusion_model_modules(family, spelling, modules))
    if text_encoders:
        if family not in _TEXT_ENCODERS:
            raise ValueError(f"no text encoders are known for {family}")
        found += _text_encoder_modules(family, spelling, modules)
    if not found:
        raise ValueError(f"{family} has no modules {modules or ''} in the {spelling} spelling")
    return sorted(found, key=lambda module: module.name)


def _diffusion_model_modules(family: str, spelling: str, modules: str | None) -> Iterator[Module]:
    by_weight: dict[str, list[Target]] = {}
    for target in load(family):
        by_weight.setdefault(target.weight, []).append(target)
    for weight, targets in by_weight.items():
        # Trainers train layers, which have a kohya name; bare parameters have none.
        is_layer = any(s.startswith("lora_unet_") for t in targets for s in t.spellings)
        if is_layer and _wanted(weight, modules, _TYPICAL[family]):
            named = [(t, _name(t, family, spelling)) for t in targets]
            named = [(target, name) for target, name in named if name]
            # A weight whose parts have names of their own is trained in parts.
            parts = [(target, name) for target, name in named if target.slice]
            for target, name in parts or named:
                yield _module(name, target)


def _name(target: Target, family: str, spelling: str) -> str | None:
    """The name of `target` in `spelling`; None where it has none."""
    if spelling == "diffusers":
        prefix = "unet." if family in _TEXT_ENCODERS else "transformer."
        # Of two names the first is Flux.2's or of no trainer: "ff.linear_in", "ff.net.0.proj".
        return next((s for s in reversed(target.spellings) if s.startswith(prefix)), None)
    if target.slice or target.reordered:
        return None
    if spelling == "generic":
        return f"diffusion_model.{target.weight}"
    native = "lora_unet_" + target.weight.replace(".", "_")
    if family == "sd1.5":  # kohya trains SDXL in its original layout, but SD1.5 in diffusers'
        return next(s for s in target.spellings if s.startswith("lora_unet_") and s != native)
    return native


def _text_encoder_modules(family: str, spelling: str, modules: str | None) -> Iterator[Module]:
    for encoder, kohya, diffusers in _TEXT_ENCODERS[family]:
        generic = f"text_encoders.{encoder.replace('-', '_')}."
        prefix = {"kohya": kohya, "generic": generic, "diffusers": diffusers}[spelling]
        for target in load(encoder):
            if _wanted(target.weight, modules, ""):
                name = next(s for s in target.spellings if s.startswith(prefix))
                yield _module(name, target, encoder)


def _module(name: str, target: Target, model: str = "") -> Module:
    shape = list(target.shape)
    if target.slice:
        dimension, _, length = target.slice
        shape[dimension] = length
    return Module(name, f"{model} {target.weight} {target.slice}", tuple(shape))


def _wanted(weight: str, modules: str | None, typical: str) -> bool:
    if modules is None:
        return bool(re.search(typical, weight))
    if modules == "attention":
        return bool(re.search(typical, weight) and re.search(_ATTENTION, weight))
    patterns = [pattern.strip() for pattern in modules.split(",")]
    return modules == "all" or any(fnmatchcase(weight, pattern) for pattern in patterns)
