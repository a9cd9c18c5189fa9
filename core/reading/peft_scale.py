"""How PEFT and diffusers scale a file that carries PEFT's settings.

diffusers keeps the settings of the training (lora_alpha, r, use_rslora, alpha_pattern, ...) as
JSON under `lora_adapter_metadata`, each with the name of its component in front (`transformer.r`),
and scales by alpha / r, or alpha / sqrt(r) with use_rslora. ComfyUI does not read them: without an
alpha beside a module its scale is 1.
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

KEY = "lora_adapter_metadata"
# What an expression may have of *, +, ?, { and (, and the length of the names it is tried on.
MOST_CHOICES, LONGEST_PATH = 3, 200
COMPONENT_PREFIXES = (
    "transformer.",
    "unet.",
    "text_encoder.",
    "text_encoder_2.",
    "text_encoder_3.",
)


@dataclass(frozen=True)
class PeftSettings:
    """The settings in a file's metadata, as they stand there."""

    values: Mapping[str, Any]

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> "PeftSettings | None":
        """None where a file has none, or none that can be read."""
        try:
            values = json.loads(metadata[KEY])
        except (KeyError, ValueError, RecursionError):
            return None
        return cls(values) if isinstance(values, dict) else None

    def scale(self, raw: str, rank: int) -> float:
        """The factor that PEFT puts before up @ down of a module, by its raw name; 1.0 unless told.

        The rank is the stored one: PEFT does not load a file whose settings say another.
        """
        prefix = next((p for p in COMPONENT_PREFIXES if raw.startswith(p)), "")
        if not any(key.startswith(prefix) for key in self.values if prefix):
            prefix = ""
        path = raw.removeprefix(prefix).removeprefix("base_model.model.")
        alpha = self.values.get(prefix + "lora_alpha")
        pattern = self.values.get(prefix + "alpha_pattern")
        for key, value in pattern.items() if isinstance(pattern, dict) else ():
            if _matches(key, path):
                alpha = value
                break
        if not isinstance(alpha, int | float) or rank < 1:
            return 1.0
        if not abs(alpha) <= sys.float_info.max:
            return 1.0  # JSON knows NaN, Infinity and whole numbers beyond any float.
        return alpha / (sqrt(rank) if self.values.get(prefix + "use_rslora") is True else rank)

    def __str__(self) -> str:
        """The settings that decide the scale, for messages."""
        names = ("lora_alpha", "r", "use_rslora", "alpha_pattern", "rank_pattern")
        found = {k: value for k, value in self.values.items() if k.rpartition(".")[2] in names}
        return ", ".join(f"{key} {value}" for key, value in found.items() if value)


def _matches(pattern: str, path: str) -> bool:
    """PEFT's rule: the pattern is an expression for the end of the path, whole segments of it.

    False for an expression that is none, and for one that could keep a hostile file's reader busy
    for hours: nested or many repetitions, which no trainer writes.
    """
    choices = len(re.findall(r"[*+?{(]", pattern))
    if choices > MOST_CHOICES or re.search(r"\)[*+?{]", pattern) or len(path) > LONGEST_PATH:
        return False
    try:
        return re.match(rf"(.*\.)?({pattern})$", path) is not None
    except (re.error, OverflowError, RecursionError):
        return False
