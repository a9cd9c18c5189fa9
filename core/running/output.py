"""Where an edit's result goes and how it is written: the settings that all edits share."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..deferred import torch
from ..errors import FileError, SettingError, one_of
from ..naming.family import UNKNOWN
from ..naming.spelling import DIFFUSERS, SPELLINGS, Spelling, standard_spelling
from ..reading.lora import Lora
from ..storage.atomic import occupied, real_target, same_file
from ..storage.dtypes import TensorInfo
from .metadata import Wishes

OUTPUT_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
DTYPE_CHOICES = ("match", *OUTPUT_DTYPES)
SPELLING_CHOICES = ("match", *SPELLINGS)
# Writing fp8 factors again would cost 3 % of error each time.
MATCHED = {"float8_e4m3fn": "bfloat16", "float8_e5m2": "bfloat16", "float64": "float32"}


@dataclass(frozen=True)
class Output:
    """Where an edit's result goes and how it is written.

    `path` None returns a state dict. `dtype` is one of DTYPE_CHOICES and `spelling`
    one of SPELLING_CHOICES, where match is the first input's. `metadata` is what the file is to say
    about itself. With `replace` False a file that is there already stays, and is an error. Raises
    SettingError for another word.

    >>> output = core.Output("small.safetensors", dtype="bf16", spelling="kohya")
    """

    path: str | os.PathLike[str] | None = None
    dtype: str = "match"
    spelling: str = "match"
    metadata: Wishes = Wishes()  # noqa: RUF009 - frozen
    replace: bool = True

    def __post_init__(self) -> None:
        one_of("output dtype", self.dtype, DTYPE_CHOICES)
        one_of("spelling", self.spelling, SPELLING_CHOICES)

    def recipe(self) -> dict[str, Any]:
        """How it is written, as the recipe says it."""
        how = {"dtype": self.dtype, "spelling": self.spelling}
        return how | self.metadata.as_recipe()

    def spelling_for(self, lora: Lora) -> Spelling | None:
        """The spelling to write, None for the first input's own.

        Raises SettingError for diffusers' where diffusers has no model of the family.
        """
        if self.spelling == "match":
            return None
        family = lora.family
        if self.spelling == DIFFUSERS and not (family is UNKNOWN or family.diffusers_models):
            raise SettingError(
                f"diffusers has no model of {family.name} that takes LoRAs, so nothing is written "
                "for it",
                fix="choose the spelling kohya or generic, which ComfyUI reads",
                file=lora.name,
            )
        return standard_spelling(self.spelling, lora.family)

    def dtype_for(self, first: Lora) -> torch.dtype:
        found: torch.dtype = getattr(torch, self._dtype_name(first))
        return found

    def _dtype_name(self, first: Lora) -> str:
        if self.dtype != "match":
            return OUTPUT_DTYPES[self.dtype]
        counts: Counter[TensorInfo] = Counter()
        for module in first.modules.values():
            if module.info.floating:
                counts[module.info._replace(shape=())] += module.bytes
        # Of two with as many bytes the wider one, whatever the order of the file.
        most = max(counts, key=lambda one: (counts[one], one.item_bytes, one), default=None)
        name = most.dtype_name if most else "float32"
        return MATCHED.get(name, name)

    def check(self, loras: Iterable[Lora]) -> None:
        """Raises FileError where no file can be written, or it would replace an input."""
        if self.path is None:
            return
        target = real_target(self.path)
        for lora in loras:
            path = lora.tensors.path
            if path is not None and same_file(target, path):
                raise FileError(
                    "the output is one of the inputs", fix="choose another", file=str(self.path)
                )
        if not self.replace and os.path.lexists(target):
            raise occupied(target)
