"""How PEFT and diffusers scale a file that carries PEFT's settings.

diffusers keeps the settings of the training (lora_alpha, r, use_rslora, alpha_pattern, ...) as
JSON under `lora_adapter_metadata`, each with the name of its component in front (`transformer.r`),
and scales by alpha / r, or alpha / sqrt(r) with use_rslora. ComfyUI does not read them: without an
alpha beside a module its scale is 1.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from operator import itemgetter
from typing import Any

from ..algebra.cached import cached_property

KEY = "lora_adapter_metadata"
# What metadata can ask for of a file's reader.
MOST_EXPRESSIONS, LONGEST_EXPRESSION, MOST_STEPS, MOST_SEGMENTS = 32, 200, 50_000, 100
# What PEFT puts around a pattern.
START, END = r"(.*\.)?(", ")$"
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
        if isinstance(pattern, dict):
            alpha = self._patterns(prefix).find(path, alpha)
        if not isinstance(alpha, int | float) or rank < 1:
            return 1.0
        if not abs(alpha) <= sys.float_info.max:
            return 1.0  # JSON knows NaN, Infinity and whole numbers beyond any float.
        return alpha / (sqrt(rank) if self.values.get(prefix + "use_rslora") is True else rank)

    @cached_property
    def _read(self) -> dict[str, "Patterns"]:
        return {}

    def _patterns(self, prefix: str) -> "Patterns":
        """The patterns of a component, made ready once."""
        if prefix not in self._read:
            self._read[prefix] = Patterns.of(self.values[prefix + "alpha_pattern"])
        return self._read[prefix]

    @property
    def unread(self) -> list[str]:
        """The patterns that were asked for and are beyond what is matched here."""
        return sorted(pattern for found in self._read.values() for pattern in found.unread)

    def __str__(self) -> str:
        """The settings that decide the scale, for messages."""
        names = ("lora_alpha", "r", "use_rslora", "alpha_pattern", "rank_pattern")
        found = {k: value for k, value in self.values.items() if k.rpartition(".")[2] in names}
        return ", ".join(f"{key} {value}" for key, value in found.items() if value)


@dataclass(frozen=True)
class Patterns:
    """PEFT's rule: a pattern is an expression for the end of a path, whole segments of it.

    `plain` are names, each with its place and value: looked up, however many there are. The others
    are expressions of a form that is done in few steps on a path; what is none of either, which no
    trainer writes, matches nothing and is kept in `unread`.
    """

    plain: Mapping[str, tuple[int, Any]]
    expressions: Sequence[tuple[int, Any, re.Pattern[str]]]
    unread: set[str]

    @classmethod
    def of(cls, patterns: Mapping[str, Any]) -> "Patterns":
        plain: dict[str, tuple[int, Any]] = {}
        expressions: list[tuple[int, Any, re.Pattern[str]]] = []
        unread = set()
        for place, (pattern, value) in enumerate(patterns.items()):
            name = pattern.removesuffix("$").replace("\\.", ".")
            if re.fullmatch(r"[\w.-]+", name):
                plain.setdefault(name, (place, value))
            elif len(expressions) < MOST_EXPRESSIONS and (found := _compiled(pattern)):
                expressions.append((place, value, found))
            else:
                unread.add(pattern)
        return cls(plain, expressions, unread)

    def find(self, path: str, default: Any) -> Any:
        """The value of the first pattern that matches."""
        segments = path.split(".")[-MOST_SEGMENTS:]
        ends = (".".join(segments[i:]) for i in range(len(segments)))
        found = [self.plain[end] for end in ends if end in self.plain]
        first = min(found, key=itemgetter(0), default=(inf, default))
        for place, value, expression in self.expressions:
            if place > first[0]:
                break
            if _steps(expression.pattern, path) > MOST_STEPS:
                self.unread.add(expression.pattern.removeprefix(START).removesuffix(END))
            elif expression.match(path):
                return value
        return first[1]


def _compiled(pattern: str) -> re.Pattern[str] | None:
    """None for an expression that is none, or whose repetitions are nested."""
    if len(pattern) > LONGEST_EXPRESSION or re.search(r"\)[*+?{]", pattern):
        return None
    try:
        return re.compile(START + pattern + END)
    except (re.error, OverflowError, RecursionError):
        return None


def _steps(pattern: str, path: str) -> int:
    """About how many ways there are to try an expression on a path."""
    wide = sum(map(pattern.count, "*+{")) - 1  # One star is that of the rule itself.
    ways = 2 ** min(pattern.count("?"), 20) * (1 + pattern.count("|")) ** pattern.count("(")
    starts: int = (1 + path.count(".")) * ways * len(path) ** wide
    return starts
