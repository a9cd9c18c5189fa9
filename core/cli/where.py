"""--where and --sort: which of many rows are shown, and in which order."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ..errors import SettingError
from .parser import megabytes, suggestion

CONDITION = re.compile(r"\s*([\w.-]+)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*")
Row = Mapping[str, Any]


def conditions(text: str) -> list[tuple[str, str, str]]:
    """(column, comparison, value) of "family=Flux and rank>32"."""
    found = []
    for part in re.split(r"\s+and\s+|\s*,\s*", text.strip(), flags=re.IGNORECASE):
        match = CONDITION.fullmatch(part)
        if match is None:
            raise argparse.ArgumentTypeError(
                f"{part!r} is no condition; write COLUMN=VALUE, also with !=, <, >, <= or >=, "
                "and several with 'and' between them"
            )
        found.append((match[1].lower(), match[2], match[3]))
    return found


def chosen(rows: Sequence[Row], asked: Sequence[tuple[str, str, str]]) -> list[Row]:
    """The rows that meet all conditions. Raises SettingError for a column that is not there."""
    for column, *_ in asked:
        check(column, rows)
    return [row for row in rows if all(_meets(row[column], how, v) for column, how, v in asked)]


def check(column: str, rows: Sequence[Row]) -> None:
    columns = list(rows[0]) if rows else [column]
    if column not in columns:
        hint = suggestion(column, columns)
        raise SettingError(
            f"there is no column {column!r}{hint}", fix=f"choose among {', '.join(columns)}"
        )


def in_order(rows: Sequence[Row], column: str | None) -> list[Row]:
    """Sorted by a column: texts from A to Z, numbers from the largest on; what is missing last."""
    if column is None or not rows:
        return list(rows)
    check(column, rows)
    numbers = all(isinstance(row[column], int | float | None) for row in rows)
    there = [row for row in rows if row[column] not in (None, "")]
    missing = [row for row in rows if row[column] in (None, "")]
    if numbers:
        return [*sorted(there, key=lambda row: -row[column]), *missing]
    return [*sorted(there, key=lambda row: str(row[column]).lower()), *missing]


def _meets(value: Any, how: str, text: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            asked = megabytes(text) * 1e6 if re.search(r"[kmg]b?$", text, re.I) else float(text)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise SettingError(f"{text!r} is no number", fix="write one, also as 40MB") from error
        return {
            "=": value == asked,
            "!=": value != asked,
            "<": value < asked,
            ">": value > asked,
            "<=": value <= asked,
            ">=": value >= asked,
        }[how]
    if how not in ("=", "!="):
        return False
    same = fnmatchcase(str(value or "").lower(), text.strip("'\"").lower())
    return same == (how == "=")
