"""What all charts share: the look, the small print, and writing them the same way every time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from ..errors import FileError, one_of
from ..naming.blocks import locate
from ..quoting import chart as chart_text
from ..storage.atomic import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

LIGHT, DARK = THEMES = ("light", "dark")
# Okabe and Ito's colours; on dark the same hues, lighter.
PALETTES = {
    LIGHT: (
        "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#000000",
    ),
    DARK: (
        "#56B4E9", "#E69F00", "#2FC79A", "#E39AC4", "#8FB4FF", "#FF8344", "#A6A6A6", "#FFFFFF",
    ),
}  # fmt: skip
# Background, text, lines between, what is of less weight than the text.
PAPERS = {
    LIGHT: ("#FFFFFF", "#000000", "#DDDDDD", "#444444"),
    DARK: ("#262626", "#EEEEEE", "#4A4A4A", "#BBBBBB"),
}
MARKERS = "osD^vPX*"
MUTED = "#8A8A8A"
SMALL = 12  # points: what is not a heading
LETTER = 15.5  # pixels, as wide as a letter of this size is on average
LINE = 60  # letters of this size across a figure
STYLE = {
    # A node 320 pixels wide shows a chart at a third of its size: its letters are then 9 high.
    "figure.figsize": (6.4, 4.0),
    "figure.dpi": 160,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,  # inches
    "figure.constrained_layout.h_pad": 0.06,
    "font.size": 13,
    "axes.titlesize": 15,
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "svg.hashsalt": "lora-alloy",
    "text.parse_math": False,  # A `$` in a name is a `$`.
}


# matplotlib keeps its settings in one place for all threads.
_settings = RLock()


@contextmanager
def style(name: str = LIGHT) -> Iterator[None]:
    """Inside, our settings and a theme hold; one thread at a time, so that all end as they were.

    Raises SettingError for an unknown theme.
    """
    one_of("theme", name, THEMES)
    import matplotlib.style

    paper, ink, rule, _ = PAPERS[name]
    colours = {"grid.color": rule, "figure.facecolor": paper, "axes.facecolor": paper}
    inked = "text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"
    colours |= dict.fromkeys(inked, ink)
    with _settings, matplotlib.style.context(["default", STYLE | colours]):
        yield


def theme() -> str:
    """The theme that holds."""
    from matplotlib import rcParams

    return next(name for name in THEMES if PAPERS[name][0] == rcParams["figure.facecolor"])


def palette() -> tuple[str, ...]:
    """The colours of the theme that holds."""
    return PALETTES[theme()]


def paper() -> tuple[str, str, str, str]:
    """Background, text, lines between and small print of the theme that holds."""
    return PAPERS[theme()]


def new_figure() -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that notebooks show as it is, whether or not they have asked for pyplot."""

        def _repr_png_(self) -> bytes:
            return to_png(self)

    figure = Shown()
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure) -> bytes:
    """The `figure` as the bytes of a PNG file; the same figure gives the same bytes.

    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral")
    >>> core.to_png(core.chart(table, "heat map"))[1:4]
    b'PNG'
    """
    return _encode(figure, "png")


def chart_form(path: str | os.PathLike[str]) -> str:
    """png or svg, by a file's ending. Raises FileError for another one."""
    form = Path(path).suffix.lower().lstrip(".")
    if form not in ("png", "svg"):
        raise FileError(
            "a chart is written as .png or .svg",
            fix="choose one of these endings",
            file=str(path),
        )
    return form


def save_chart(figure: Figure, path: str | os.PathLike[str], replace: bool = True) -> Path:
    """Write a `figure` as a .png or .svg file, whole or not at all, and return its `path`.

    Raises FileError for another ending or where it cannot be written, and with `replace` False
    Occupied for a file that is there already.

    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral")
    >>> core.save_chart(core.chart(table, "spectrum"), "spectrum.svg").name
    'spectrum.svg'
    """
    write_file(path, _encode(figure, chart_form(path)), replace)
    return Path(path)


def _encode(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    # Dates and version numbers would make every file another one.
    absent: dict[str, Any] = {"Software": None} if form == "png" else {"Date": None}
    with style():
        # Laid out once: each time again it would move by a hair.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        figure.savefig(buffer, format=form, metadata=absent)
    return buffer.getvalue()


def note(axes: Axes, text: str) -> None:
    """Small print below the title, which is there already."""
    axes.set_title(axes.get_title(loc="left"), pad=25)
    from matplotlib.transforms import ScaledTranslation

    above = axes.transAxes + ScaledTranslation(0, 8 / 72, axes.figure.dpi_scale_trans)
    axes.text(0, 1, chart_text(text), transform=above, fontsize=SMALL, color=paper()[3])


def mark_groups(
    axes: Axes,
    groups: Sequence[str],
    labels: Sequence[str],
    colours: Mapping[str, str],
    centred: bool = False,
    width: int = 880,
) -> None:
    """Ticks with as many labels as there is room for; below them a bracket and a name per group.

    `width` is that of the axes in pixels. A position is the middle of its bar or cell if `centred`,
    otherwise its left edge.
    """
    from matplotlib.lines import Line2D
    from matplotlib.transforms import ScaledTranslation

    shift = 0.5 if centred else 0.0
    named = any(labels)
    every = -(-len(labels) * 40 // width)
    depth = 22 if named else 6
    ticks, shown, start = [], [], 0
    ends: list[float] = []  # of the last name on every line, in pixels

    def under(points: float) -> Transform:
        """Along the data from left to right, this far below the axis."""
        down = ScaledTranslation(0, -points / 72, axes.figure.dpi_scale_trans)
        return axes.get_xaxis_transform() + down

    for name, run in groupby(groups):
        size = len(list(run))
        for offset in range(0, size, every):
            if offset == 0 or size - offset >= every:
                ticks.append(start + offset)
                shown.append(labels[start + offset])
        text = chart_text(shorten(name, 24))
        middle = width * (start + size / 2) / len(groups)
        left = middle - LETTER * len(text) / 2
        line = next((i for i, end in enumerate(ends) if end < left - LETTER), len(ends))
        ends[line : line + 1] = [left + LETTER * len(text)]
        # A bracket ends two pixels before its group does, where there is room.
        gap = min(max(0.12, 2 * len(groups) / width), size / 4)
        edges = (start + gap - shift, start + size - gap - shift)
        axes.add_artist(
            Line2D(
                edges, (0, 0), transform=under(depth), clip_on=False, linewidth=3,
                color=colours.get(name, MUTED), solid_capstyle="butt",
            )
        )  # fmt: skip
        axes.text(
            sum(edges) / 2, 0, text, transform=under(depth + 5 + 17 * line), fontsize=SMALL,
            ha="center", va="top",
        )  # fmt: skip
        start += size
    labelled = list(map(chart_text, shown)) if named else []
    axes.set_xticks(ticks if named else [], labelled, fontsize=SMALL)


def shorten(name: str, length: int) -> str:
    """A dotted name without its middle where it is too long: the block and the layer stay."""
    if len(name) <= length:
        return name
    place, parts = locate(name), name.split(".")
    start = place.block or ".".join(parts[:2])
    rest = name[len(place.prefix or start) :].strip(".").split(".")
    shorter = (f"{start}...{'.'.join(rest[skipped:])}" for skipped in range(1, len(rest) + 1))
    return next((short for short in shorter if len(short) <= length), name[: length - 3] + "...")
