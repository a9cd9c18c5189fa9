"""The rows of LoRA Blend: what its text `rows` says of each LoRA.

    lora_1: 0.8
      double_blocks.0-9: 0
    lora_3: 0.5 off
    styles/ink.safetensors: 0.7
      te: 0.5

A row is a line `NAME: NUMBER`. NAME is a socket, `lora_1` to `lora_50`, or a file as the loras
folders list it, which then needs no wire. NUMBER is its weight, multiplied onto `weight_1` and
`weight_2` for those two. ` off` behind the number leaves the LoRA out and keeps the row. Lines that
begin with a space belong to the row above: block weights of that LoRA alone, in the language of
`block_weights` with one number a line. Empty lines mean nothing. Numbers without a name, one or
several with commas between, are for the sockets from lora_3 on.

The text is a list of exceptions: a socket without a row has its weight and is on; a row whose
socket has no wire waits for one. What has no row comes first, sockets by their numbers and then the
stack; what has rows follows in their order. So a page that shows all LoRAs as rows writes one line
for each, and reorders them by reordering lines. The first LoRA that is on gives the result its
spelling, and the columns of `block_weights` are all LoRAs in this order, those that are off, too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from ..core import Lora, SettingError, StateDict
from . import comfy_bridge
from .wires import named

MOST_LORAS = 50
SOCKET = re.compile(r"lora_([1-9]\d*)")
VECTOR = re.compile(r"^lbw=", re.IGNORECASE)
GIVEN = "one 'NAME: NUMBER' a line, such as 'lora_1: 0.8' or 'ink.safetensors: 0.5 off'"


@dataclass(frozen=True)
class Row:
    """One LoRA of a blend: a socket or a file, its weight, and its own block weights, by line."""

    name: str
    weight: float = 1.0
    on: bool = True
    blocks: tuple[str, ...] = ()

    @property
    def socket(self) -> int:
        """The number of the socket; 0 for a file."""
        match = SOCKET.fullmatch(self.name)
        return int(match[1]) if match and int(match[1]) <= MOST_LORAS else 0


@dataclass(frozen=True)
class Part:
    """A row with its LoRA."""

    row: Row
    lora: StateDict


def parse_rows(text: str) -> list[Row]:
    """The rows of the text. Raises SettingError for a line that is none."""
    rows: list[Row] = []
    free = 3  # the next socket for a number without a name
    for line in filter(str.strip, text.splitlines()):
        if line[0].isspace():
            if not rows:
                raise SettingError(f"rows line {line.strip()!r} belongs to no row", fix=GIVEN)
            rows[-1] = replace(rows[-1], blocks=(*rows[-1].blocks, line.strip()))
            continue
        name, colon, rest = line.rpartition(":")
        numbers = [(name.strip(), rest)] if colon else [("", one) for one in line.split(",")]
        for given, number in numbers:
            rows.append(_row(given or f"lora_{free}", number, line))
            free += not given
    sockets = [row.name for row in rows if row.socket]
    if twice := next((name for name in sockets if sockets.count(name) > 1), None):
        raise SettingError(f"rows have two lines for {twice}", fix="leave one of them out")
    return rows


def _row(name: str, text: str, line: str) -> Row:
    words = text.split()
    on = words[1:] != ["off"]
    try:
        weight = float(words[0])
    except (ValueError, IndexError):
        weight = float("nan")
    if not isfinite(weight) or (on and len(words) > 1):
        raise SettingError(f"rows line {line.strip()!r} cannot be read", fix=f"give {GIVEN}")
    return Row(name, weight, on)


def check_files(rows: Sequence[Row]) -> None:
    """Raises SettingError for a row that is neither a socket nor a file of the loras folders."""
    for row in rows:
        if not row.socket and comfy_bridge.lora_path(row.name) is None:
            raise SettingError(
                f"rows: {row.name!r} is neither a socket nor a file of the loras folders",
                fix="press R and choose again, or switch the row off" if row.on else "remove it",
            )


def gather(
    sockets: Mapping[str, Any], stack: Sequence[Any], rows: Sequence[Row]
) -> tuple[list[Part], list[str]]:
    """(every LoRA with its row, in order, those that are off as well; notes for the report).

    `sockets` are the wires by name. Files of rows that are off are not read.
    """
    connected = {name: lora for name, lora in sockets.items() if lora is not None}
    told = {row.name for row in rows}
    parts = [Part(Row(name), named(lora, name)) for name, lora in connected.items()
             if name not in told]  # fmt: skip
    parts += [_of_stack(entry) for entry in stack if _is_lora(entry)]
    notes = []
    for row in rows:
        if row.socket and row.name not in connected:
            if row.on:
                notes.append(f"row {row.name}: nothing is connected")
        elif row.socket:
            parts.append(Part(row, named(connected[row.name], row.name)))
        else:
            lora = comfy_bridge.load_lora(row.name) if row.on else StateDict(name=row.name)
            parts.append(Part(row, lora))
    return parts, notes


def _is_lora(entry: Any) -> bool:
    """Stacks hold placeholders: rows of a list in which nothing was chosen."""
    return bool(entry) and str(entry[0]) not in ("None", "none", "")


def _of_stack(entry: Sequence[Any]) -> Part:
    """An entry (file, model strength, clip strength, ...) of a LORA_STACK, as other packs make it.

    Some leave the clip strength out; it is then the model's.
    """
    name, model, *rest = entry
    clip = float(rest[0]) if rest else float(model)
    lora = comfy_bridge.load_lora(str(name))
    if clip == float(model) or not any(m.name.encoder for m in Lora(lora).modules.values()):
        return Part(Row(str(name), float(model)), lora)
    # Not one as a multiple of the other: either may be 0.
    return Part(Row(str(name), 1.0, blocks=(f"unet: {float(model)}", f"te: {clip}")), lora)


def block_weights_of(parts: Sequence[Part], common: str) -> str:
    """The block weights of a blend of those parts that are on, a column each.

    `common` has a column for every part; what parts have of their own follows, so it counts more.
    """
    on = [index for index, part in enumerate(parts) if part.row.on]
    lines = [_only(line, len(parts), on) for line in re.split(r"[\n;]", common)]
    for column, index in enumerate(on):
        lines += [_in_column(line, column, len(on)) for line in parts[index].row.blocks]
    return "\n".join(lines)


def _only(line: str, count: int, on: Sequence[int]) -> str:
    """A line with a column for each of `count` parts, with these columns only."""
    pattern, colon, numbers = line.rpartition(":")
    vectors = not colon or line.strip().lower().startswith("lbw=")
    text, mark = (VECTOR.sub("", line.strip()), "/") if vectors else (numbers, ",")
    columns = text.split(mark)
    if len(on) == count or len(columns) != count:
        return line
    kept = mark.join(columns[index] for index in on)
    return ("lbw=" if vectors else f"{pattern}:") + kept if kept.strip(mark + " ") else ""


def _in_column(line: str, column: int, count: int) -> str:
    """A line for one LoRA as one for `count`, with nothing for the others."""
    pattern, colon, number = line.rpartition(":")
    if colon and "," not in number:
        return f"{pattern}: " + ",".join(number if i == column else "" for i in range(count))
    vector = VECTOR.sub("", number if colon else line)
    return "lbw=" + "/".join(vector if i == column else "" for i in range(count))
