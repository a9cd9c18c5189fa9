"""Which models are known, and who reads and trains LoRAs for them: from the families' tables."""

from __future__ import annotations

from typing import Any

from ..naming.catalogue import FAMILIES, OUTSIDE
from ..naming.family import Family
from ..naming.precedence import is_read
from ..naming.spelling import (
    DIFFUSERS,
    GENERIC,
    KOHYA,
    ModuleName,
    spell,
    standard_spelling,
)
from .trainers import TRAINED


def coverage() -> list[dict[str, Any]]:
    """A row for every family of models, by name.

    `family` is what reports call it, `comfyui` are its models there, `reads` the spellings of its
    layers that ComfyUI reads, `diffusers` the models of diffusers that take LoRAs, for which the
    spelling diffusers is written; `trainers` have a setting for single blocks of it (PEFT has for
    all), `text_encoders` are those beside CLIP, `blocks` how many there are in a container.

    >>> flux = next(row for row in core.coverage() if row["family"] == "Flux")
    >>> flux["reads"], flux["diffusers"][0], flux["trainers"]
    (['kohya', 'generic', 'diffusers'], 'FluxTransformer2DModel', ['ai-toolkit', ...])
    """
    return [_row(family) for family in sorted(FAMILIES, key=lambda family: family.name.lower())]


def not_covered() -> dict[str, str]:
    """The other models of ComfyUI, each with the reason why no family has it.

    >>> core.not_covered()["TripoSplat"]
    'makes splats'
    """
    return dict(OUTSIDE)


def _reads_diffusers(family: Family) -> bool:
    """Whether ComfyUI reads most of the layers that diffusers has under the names that it gives."""
    spelling = standard_spelling(DIFFUSERS, family)
    whole = (
        ModuleName(row.native, 0, len(row.parts), row.parts, native=row.native, numbers=("0",) * 9)
        for row in family.rows.values()
        if not row.lone and not row.absent
    )
    one = (name._replace(last=1) if len(name.parts) > 1 else name for name in whole)
    names = [name for name in (spell(name, spelling, family) for name in one) if name]
    return 2 * sum(is_read(name.replace("#", "0"), family) for name in names) > len(names)


def _row(family: Family) -> dict[str, Any]:
    return {
        "family": family.name,
        "comfyui": list(family.comfyui_models),
        "reads": [KOHYA, GENERIC, *([DIFFUSERS] if _reads_diffusers(family) else [])],
        "diffusers": list(family.diffusers_models),
        "trainers": [trainer for trainer, models in TRAINED.items() if family.name in models],
        "text_encoders": list(family.encoders),
        "blocks": {container: list(counts) for container, counts in family.blocks.items()},
    }
