"""What notebooks show, as HTML: without colours of its own, so that it is readable on dark, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..quoting import terminal


def fact_list(lines: Iterable[tuple[str, ...]]) -> str:
    """A table of (label, text)."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{_text(label)}</th>"
        f"<td style='text-align:left'>{_text(text)}</td></tr>"
        for label, text in lines
    )
    return f"<table>{rows}</table>"


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """A bar for each (label, value, what it says), the longest as wide as there is room."""
    most = max((value for _, value, _ in rows), default=0) or 1
    cells = "".join(
        f"<tr><td style='text-align:left'>{_text(label)}</td><td style='width:16em'>"
        f"<div style='background:currentColor;opacity:0.5;height:0.8em;"
        f"width:{100 * value / most:.1f}%'></div></td><td>{_text(said)}</td></tr>"
        for label, value, said in rows
    )
    return f"<details><summary>{len(rows)} blocks</summary><table>{cells}</table></details>"


def _text(text: str) -> str:
    return escape(terminal(text))
