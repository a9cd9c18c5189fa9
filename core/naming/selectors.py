"""The small language that says which layers.

Patterns separated by commas or lines: `double_blocks.0-9, single_blocks.*, -*mod*`. A pattern is a
canonical name or the beginning of one up to a dot; `*` stands for any text; `0-9` as a whole
segment is a range of indices; a leading `-` excludes. What matches any pattern and no exclusion is
selected; with exclusions only, everything else is. An empty selector selects everything. What else
a pattern can be says `layers.py`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import SettingError
from .numbers import number


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """One pattern as a regular expression over whole names, whatever their case."""
    segments = []
    for segment in pattern.split("."):
        low, high = map(number, segment.partition("-")[::2])
        if low is not None and high is not None:
            if low > high:
                raise SettingError(
                    f"selector {pattern!r}: the range {segment} runs backwards",
                    fix="write the smaller number first",
                )
            if high - low > 10_000:
                raise SettingError(
                    f"selector {pattern!r}: the range {segment} is too long",
                    fix="write * for all numbers",
                )
            segments.append("(?:" + "|".join(map(str, range(low, high + 1))) + ")")
        else:
            segments.append("*".join(map(re.escape, segment.split("*"))))
    first, *rest = re.split(r"\*+", r"\.".join(segments))
    # The first place where a piece fits is as good as any later one: what comes after it can only
    # gain. So nothing is tried twice (a group in a lookahead does that), whatever the pattern.
    middle = "".join(f"(?=(?P<g{i}>.*?{piece}))(?P=g{i})" for i, piece in enumerate(rest[:-1]))
    last = "".join(f".*{piece}" for piece in rest[-1:])
    return re.compile(first + middle + last + r"(?:\..*)?", re.DOTALL | re.IGNORECASE)


def compressed(names: Iterable[str]) -> list[str]:
    """Patterns for names, in their order: those that count on are a range.

    `a.1`, `a.2`, `a.3`, `b.3` become `a.1-3`, `b.3`.
    """
    runs: list[tuple[str, int | None, int | None]] = []  # name before the number, first, last
    for name in names:
        stem, _, last = name.rpartition(".")
        count = number(last) if stem and (last == "0" or not last.startswith("0")) else None
        before, first, end = runs[-1] if runs else ("", None, None)
        if count is not None and before == stem and end is not None and count == end + 1:
            runs[-1] = (stem, first, count)
        else:
            runs.append((name if count is None else stem, count, count))
    return [
        stem if first is None else f"{stem}.{first}" + (f"-{end}" if end != first else "")
        for stem, first, end in runs
    ]


@dataclass(frozen=True)
class Selector:
    """A parsed selector. `includes` and `excludes` hold the patterns as they were written.

    >>> core.Selector.parse("double_blocks.0-9, -*mod*")
    Selector(includes=('double_blocks.0-9',), excludes=('*mod*',))
    """

    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> "Selector":
        """The patterns of the text. Raises SettingError for what no file can make sense of."""
        patterns = [p.strip() for p in re.split(r"[,\n]", text or "") if p.strip()]
        if any(pattern in ("-", "- ") for pattern in patterns):
            raise SettingError(
                f"selector {text!r}: a lone '-' excludes nothing", fix="write -pattern"
            )
        includes = tuple(p for p in patterns if not p.startswith("-"))
        excludes = tuple(p[1:].strip() for p in patterns if p.startswith("-"))
        for pattern in includes + excludes:
            compile_pattern(pattern)
        return cls(includes, excludes)
