"""Weights of their own for some layers: lines `pattern: w1, w2, ...`."""

import re
from collections.abc import Callable, Sequence

from ..errors import SettingError
from ..naming.selectors import compile_pattern

# (canonical name, raw names of the module in the inputs) -> a multiplier for each input
BlockRule = Callable[[str, Sequence[str]], Sequence[float]]


def parse_block_weights(text: str, names: Sequence[str], count: int) -> BlockRule:
    """Lines with a number for each of `count` inputs, or one for all; the last match counts.

    Raises SettingError for a line that cannot be read or that matches no module.
    """
    rules = []
    for line in filter(None, map(str.strip, re.split(r"[\n;]", text))):
        pattern, colon, numbers = line.rpartition(":")
        try:
            values = [float(number) for number in numbers.split(",")]
        except ValueError:
            values = []
        if not colon or len(values) not in (1, count):
            raise SettingError(
                f"block weights line {line!r} cannot be read",
                fix=f"it must read 'pattern: weight', with one number for each of {count} files or "
                "one for all",
            )
        expression = compile_pattern(pattern.strip())
        if not any(expression.fullmatch(name) for name in names):
            raise SettingError(
                f"block weights pattern {pattern.strip()!r} matches no layer",
                fix="take names that `info` lists, or patterns of them",
            )
        rules.append((expression, values * (count if len(values) == 1 else 1)))

    def rule(name: str, raws: Sequence[str]) -> Sequence[float]:
        matching = [weights for expression, weights in rules if expression.fullmatch(name)]
        return matching[-1] if matching else [1.0] * count

    return rule
