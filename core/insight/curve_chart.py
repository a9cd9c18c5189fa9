"""The chart of an extraction: error against the size of the file, rank by rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..errors import FileError
from .drawing import LIGHT, SMALL, new_figure, note, palette, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Point(Protocol):
    """One rank in every layer: the size of the factors, the relative error at least and at most."""

    @property
    def rank(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def least(self) -> float: ...

    @property
    def most(self) -> float: ...


class HasPoints(Protocol):
    @property
    def points(self) -> Sequence[Point]: ...


def curve_chart(curve: HasPoints, theme: str = LIGHT) -> Figure:
    """How much of the change of a model is lost at each rank, over the size of the file.

    `curve` is that of an extraction, `theme` light or dark. Where only part of the spectra is known
    the error lies in a band. Raises FileError where no layer has a rank.

    >>> import torch
    >>> before = {"double_blocks.0.img_attn.proj.weight": torch.randn(64, 64)}
    >>> extracted = core.extract({key: 2 * weight for key, weight in before.items()}, before)
    >>> core.to_png(core.curve_chart(extracted.curve))[1:4]
    b'PNG'
    """
    points = curve.points
    if not points:
        raise FileError("there is nothing to draw: no layer has a rank", fix="choose another rule")
    sizes = [point.bytes / 1e6 for point in points]
    most, least = [point.most for point in points], [point.least for point in points]
    with style(theme):
        figure, colour = new_figure(), palette()[0]
        axes = figure.subplots()
        axes.fill_between(sizes, least, most, color=colour, alpha=0.2, linewidth=0)
        axes.plot(sizes, most, color=colour, marker="o", linewidth=2)
        for point, size in zip(points, sizes, strict=True):
            axes.annotate(
                f"rank {point.rank}", (size, point.most), (5, 7), textcoords="offset points",
                fontsize=SMALL,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(
            lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""
        )
        axes.grid(which="both")
        axes.set(
            xlabel="size of the factors, MB",
            ylabel="relative error of the change",
            title="What each rank keeps of the change",
            ylim=(0, 1.08),
            xlim=(sizes[0] / 1.3, sizes[-1] * 2),
        )
        if max(m - x for m, x in zip(most, least, strict=True)) > 0.01:
            note(axes, "band: what is not known of the spectra")
    return figure
