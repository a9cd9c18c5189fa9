"""The settings in a file's recipe, in the words of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..algebra.rank_rules import AUTO, FULL


def translated(command: str, settings: Mapping[str, Any], inputs: int) -> Iterator[tuple[str, Any]]:
    """(option, value) for the settings, where a command says them in other words."""
    for key, value in settings.items():
        if key == "weights" and isinstance(value, list):
            yield key, value[:inputs]
        elif key == "rank" and command == "blend":
            yield from rule_options(str(value))
        elif key == "drop_near_zero":
            yield "keep_zero", value is False
        elif key == "zero_tolerance" and value == 0.0:
            continue
        elif key == "block_weights" and "@" in str(value):
            # What stood in a file stands here itself; a recipe of somebody else's names no files.
            yield "block_weights of a file", value
        elif key == "balance" and isinstance(value, str):
            named, _, given = value.rstrip(")").partition("(")
            yield key, named
            for pair in filter(None, given.split(", ")):
                setting, _, number = pair.partition("=")
                yield "balance_strength" if setting == "strength" else setting, number
        elif key == "name" and command == "resize":
            yield str(value), True if value == "knee" else settings.get("value")
        elif key == "value" and command == "resize":
            continue
        elif key == "reading" and isinstance(value, list):
            # One option counts for all files.
            same = value and all(one == value[0] and isinstance(one, dict) for one in value)
            yield from value[0].items() if same else [(key, "different for each file")]
        elif key == "metadata" and isinstance(value, dict):
            yield "metadata", value.get("keep")
            pairs = value.get("set") if isinstance(value.get("set"), list) else []
            yield from (("set", f"{k}={v}") for k, v in pairs or ())
            yield from (("unset", k) for k in value.get("unset") or ())
        elif key in ("oversampling", "power_iterations"):
            # Numbers of the randomised truncation say nothing of the exact one.
            if settings.get("truncation") == "pca":
                yield key, value
        elif key == "parameters" and isinstance(value, dict):
            yield from (("parameter", f"{name}={number}") for name, number in value.items())
        else:
            yield key, value


def rule_options(text: str) -> Iterator[tuple[str, Any]]:
    """(option, value) for a rank rule as its text says it: `energy 0.95 min_rank=2`."""
    name, *words = text.split()
    if name in (AUTO, FULL):
        yield "rank", name
    elif name == "knee":
        yield name, True
    for word in words:
        setting, equals, number = word.partition("=")
        yield (setting, number) if equals else (name, word)


def plain(value: Any) -> str:
    """As a command line has it: 16.0 is a whole number there."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return str(int(value)) if whole else str(value)
