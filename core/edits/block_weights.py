"""Weights of their own for some layers: lines `pattern: w1, w2, ...`, vectors and presets."""

import os
import re
from collections.abc import Callable, Sequence

from ..errors import FileError, SettingError
from ..naming.block_vectors import lengths, read_vector
from ..naming.layers import Layers

# (canonical name, raw names of the module in the inputs) -> a multiplier for each input
BlockRule = Callable[[str, Sequence[str]], Sequence[float]]


def parse_block_weights(text: str, layers: Layers, count: int) -> BlockRule:
    """Lines with a number for each of `count` inputs, or one for all; the last match counts.

    Where a number is left out, as in `pattern: , 0.5`, earlier lines count for that input.
    A line can also be a vector or the name of a preset (naming/block_vectors.py), alone or after
    `lbw=`, or one for each input with a slash between. Raises SettingError for a line that cannot
    be read or a pattern that means nothing; `layers.notes` has those that mean nothing here.
    """
    weights: dict[str, list[float]] = {}
    for line in filter(None, map(str.strip, re.split(r"[\n;]", text))):
        pattern, colon, numbers = line.rpartition(":")
        counts = lengths(layers.family)
        # As their files of presets have it, NAME:1,0,0,...
        columns = numbers.split(",")
        named = bool(colon) and len(columns) in counts and len(columns) != count
        if named or (counts and not colon) or line.lower().startswith("lbw="):
            _vectors(numbers if named else line, layers, count, weights)
            continue
        try:
            values = [float(number) if number.strip() else None for number in columns]
        except ValueError:
            values = []
        if not colon or len(values) not in (1, count) or values == [None] * len(values):
            raise SettingError(
                f"block weights line {line!r} cannot be read",
                fix=f"it must read 'pattern: weight', with one number for each of {count} files or "
                "one for all",
            )
        values *= count if len(values) == 1 else 1
        for name in layers.matching(pattern.strip(), "block weights pattern"):
            _weigh(weights, name, values)

    def rule(name: str, raws: Sequence[str]) -> Sequence[float]:
        return weights.get(name, [1.0] * count)

    return rule


def _weigh(weights: dict[str, list[float]], name: str, values: Sequence[float | None]) -> None:
    """Give a layer these weights; where there is None it keeps what it has."""
    before = weights.get(name, [1.0] * len(values))
    weights[name] = [old if new is None else new for old, new in zip(before, values, strict=True)]


def _vectors(line: str, layers: Layers, count: int, weights: dict[str, list[float]]) -> None:
    """Give all layers that the vectors weigh their weights; an empty one says nothing."""
    specs = re.sub(r"(?i)^lbw=", "", line).split("/")
    if len(specs) not in (1, count):
        raise SettingError(
            f"block weights line {line!r} has {len(specs)} vectors for {count} files",
            fix="give one for each file, with a slash between, or one for all",
        )
    known = len(layers.notes)
    for index, spec in enumerate(specs * (count if len(specs) == 1 else 1)):
        if len(specs) > 1 and not spec.strip():
            continue
        for pattern, weight in read_vector(spec, layers.family):
            for name in layers.matching(pattern):
                _weigh(weights, name, [weight if i == index else None for i in range(count)])
    del layers.notes[known:]  # No file has all blocks.


def from_files(text: str) -> str:
    """The text with each line `@FILE:NAME` replaced by what the file keeps under the name.

    That is a line `NAME: ...`, or the lines below `[NAME]` up to the next such heading. `@FILE`
    alone is all that is in the file. Raises FileError where there is no such thing.
    """
    return "\n".join(_from_file(line) for line in map(str.strip, re.split(r"[\n;]", text)))


def _from_file(line: str) -> str:
    if not line.startswith("@"):
        return line
    path, _, name = line[1:].rpartition(":")
    if not path or os.path.exists(line[1:]):
        path, name = line[1:], ""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [one.strip() for one in file]
    except (OSError, ValueError) as error:
        raise FileError(f"cannot be read ({error})", fix="check the path", file=path) from error
    if not name:
        return "\n".join(lines)
    if (heading := f"[{name}]") in lines:
        start = lines.index(heading) + 1
        rest = lines[start:]
        end = next((i for i, one in enumerate(rest) if re.fullmatch(r"\[.*\]", one)), len(rest))
        return "\n".join(rest[:end])
    for one in lines:
        label, colon, value = one.partition(":")
        if colon and label.strip() == name:
            return value
    raise FileError(
        f"has no block weights called {name!r}",
        fix=f"it takes a line '{name}: ...', or lines below a heading '[{name}]'",
        file=path,
    )
