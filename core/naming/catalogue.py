"""All families that there are: one for each file in `families/`."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from .family import Family

_PACKAGE = f"{__name__.rpartition('.')[0]}.families"


def _found() -> list[Family]:
    files = iter_modules([str(Path(__file__).with_name("families"))])
    families: list[Family] = [import_module(f"{_PACKAGE}.{file.name}").FAMILY for file in files]
    return sorted(families, key=lambda family: family.order)


FAMILIES = tuple(_found())

# What else is in ComfyUI's `supported_models`, and why no family has it.
OUTSIDE = {
    "SD_X4Upscaler": "an upscaler: nobody trains LoRAs for it",
    "PixelDiTT2I": "new: its trainer trains it whole",
    "MiniMaxMusic3": "new: no trainer has it yet",
    "PiD": "a decoder of latents",
    "SeedVR2": "an upscaler in one step: nobody trains LoRAs for it",
    "TripoSplat": "makes splats",
    "Trellis2": "makes meshes",
    "RT_DETR_v4": "detects objects",
    "DepthAnything3": "estimates depth",
    "SAM3": "cuts out objects",
    "SAM31": "cuts out objects",
}
