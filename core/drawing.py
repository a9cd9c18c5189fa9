"""What all charts share: the look, the small print, and writing them the same way every time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .blocks import locate
from .errors import LoraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#000000")
MARKERS = "osD^vPX*"
MUTED = "#8A8A8A"
SMALL = 12  # points: what is not a heading
CHARACTERS = 92  # of a group's name fit below the axes
STYLE = {
    "figure.figsize": (10.24, 6.4),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    # A node shows a chart at about half of its size.
    "font.size": 13,
    "axes.titlesize": 15,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "svg.hashsalt": "lora-alloy",
}


@contextmanager
def style() -> Iterator[None]:
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def new_figure() -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file; the same figure gives the same bytes."""
    return _encode(figure, "png")


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a .png or .svg file. Raises LoraError for another ending or where it cannot."""
    target = Path(path)
    form = target.suffix.lower().lstrip(".")
    if form not in ("png", "svg"):
        raise LoraError(f"{path}: a chart is written as .png or .svg; choose one of these endings")
    data = _encode(figure, form)
    try:
        target.write_bytes(data)
    except OSError as error:
        raise LoraError(f"{path}: the chart cannot be written ({error.strerror})") from error
    return target


def _encode(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    # Dates and version numbers would make every file another one.
    absent: dict[str, Any] = {"Software": None} if form == "png" else {"Date": None}
    with style():
        figure.savefig(buffer, format=form, metadata=absent)
    return buffer.getvalue()


def note(axes: Axes, text: str) -> None:
    """Small print to the right of the title."""
    axes.text(
        1, 1.012, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=SMALL,
        color="#444444",
    )  # fmt: skip


def mark_groups(
    axes: Axes,
    groups: Sequence[str],
    labels: Sequence[str],
    centred: bool = False,
    colour: str = "#555555",
) -> None:
    """Ticks with as many labels as there is room for, lines between groups, their names below."""
    shift = 0.5 if centred else 0.0
    every = -(-len(labels) // 36)
    ticks, shown, start = [], [], 0
    runs = [(name, len(list(run))) for name, run in groupby(groups)]
    ends: list[float] = []  # of the last name on every line, in characters
    for name, size in runs:
        for offset in range(0, size, every):
            if offset == 0 or size - offset >= every:
                ticks.append(start + offset)
                shown.append(labels[start + offset])
        if start:
            axes.axvline(start - shift, color=colour, linewidth=0.8)
        text = shorten(name, 30)
        middle = CHARACTERS * (start + size / 2) / len(groups)
        left = middle - len(text) / 2
        line = next((i for i, end in enumerate(ends) if end < left - 1), len(ends))
        ends[line : line + 1] = [left + len(text)]
        axes.annotate(
            text, (start + size / 2 - shift, 0), xycoords=axes.get_xaxis_transform(),
            xytext=(0, -17 * line - (22 if any(labels) else 5)), textcoords="offset points",
            fontsize=SMALL, ha="center", va="top",
        )  # fmt: skip
        start += size
    named = any(labels)
    axes.set_xticks(ticks if named else [], shown if named else [], fontsize=11)


def shorten(name: str, length: int) -> str:
    """A dotted name without its middle where it is too long: the block and the layer stay."""
    if len(name) <= length:
        return name
    place, parts = locate(name), name.split(".")
    start = place.block or ".".join(parts[:2])
    rest = name[len(place.prefix or start) :].strip(".").split(".")
    shorter = (f"{start}...{'.'.join(rest[skipped:])}" for skipped in range(1, len(rest) + 1))
    return next((short for short in shorter if len(short) <= length), name[: length - 3] + "...")
