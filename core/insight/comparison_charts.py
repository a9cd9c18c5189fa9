"""Pictures of a comparison: of two files the cosine along the network, of more a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import FileError
from ..naming.blocks import container_of, locate
from ..quoting import chart as chart_text
from .comparison import Comparison
from .drawing import LIGHT, MUTED, SMALL, mark_groups, new_figure, note, palette, shorten, style
from .meetings import parts_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 22  # characters of a file's name


def comparison_chart(comparison: Comparison, theme: str = LIGHT) -> Figure:
    """The figure that fits the number of files in a `comparison`.

    `theme` is light or dark. Raises FileError where nothing was measured.

    >>> figure = core.comparison_chart(core.compare(core.samples()))
    >>> core.save_chart(figure, "fight.png").name
    'fight.png'
    """
    with style(theme):
        if len(comparison.names) == 2:
            return _along_the_network(comparison)
        return _all_pairs(comparison)


def _along_the_network(comparison: Comparison) -> Figure:
    """The cosine per block in the network's order; below, how strong each file is there."""
    (pair,) = comparison.pairs
    parts = list(parts_of(pair, lambda name: locate(name).block))
    if not parts:
        raise FileError(
            "there is nothing to draw: no module was measured",
            fix="take other LoRAs, or more of their layers",
            file=" and ".join(comparison.names),
        )
    first, second = comparison.letters
    cosines = [part.overlap.cosine if part.common.meetings else None for _, part in parts]
    figure = new_figure()
    axes, norms = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    places = range(len(parts))
    colours = [palette()[1 if cosine and cosine > 0 else 0] for cosine in cosines]
    axes.bar(places, [cosine or 0.0 for cosine in cosines], width=0.85, color=colours)
    axes.axhline(0, color=MUTED, linewidth=1)
    reach = min(1.0, max(0.1, 1.15 * max(abs(cosine or 0.0) for cosine in cosines)))
    axes.set(ylabel="cosine", ylim=(-reach, reach), title="Do they pull the same way?")
    whole = round(pair.overlap.cosine, 3) + 0.0
    note(axes, f"above 0 together, below against; whole files {whole:.3f}")
    for letter, name, side, colour in (
        (first, comparison.names[0], 0, palette()[2]),
        (second, comparison.names[1], 1, palette()[3]),
    ):
        energies = [(part.overlap.first, part.overlap.second)[side] for _, part in parts]
        norms.stairs(
            [energy**0.5 for energy in energies], [place - 0.5 for place in range(len(parts) + 1)],
            color=colour, linewidth=2, baseline=None, label=f"{letter} {_short(name)}",
        )  # fmt: skip
    norms.set(ylabel="norm", ylim=(0, None), xlim=(-0.7, len(parts) - 0.3))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=SMALL,
                  handlelength=1.2, columnspacing=1)  # fmt: skip
    for each in (axes, norms):
        each.grid(axis="y")
    blocks = [block or "outside" for block, _ in parts]
    containers = [container_of(block) for block in blocks]
    labels = [block.removeprefix(container_of(block)).lstrip(".") for block in blocks]
    axes.tick_params(bottom=False)
    mark_groups(norms, containers, labels, {}, centred=True)
    return figure


def _all_pairs(comparison: Comparison) -> Figure:
    """The cosines of all pairs of files as a heat map, the number in every cell where it fits."""
    letters, size = comparison.letters, len(comparison.names)
    figure = new_figure()
    axes = figure.subplots()
    grid = comparison.cosines.to_numpy()
    image = axes.imshow(grid, cmap="cividis", vmin=-1, vmax=1, interpolation="nearest")
    few = size <= 7
    if few:
        for i in range(size):
            for j in range(size):
                axes.text(j, i, f"{grid[i, j]:.2f}", ha="center", va="center", fontsize=SMALL,
                          color="white" if grid[i, j] < 0.2 else "black")  # fmt: skip
    every = range(0, size, max(1, -(-size // 26)))
    names = [f"{_short(comparison.names[i])}  {letters[i]}" for i in every]
    axes.set_xticks(list(every), [letters[i] for i in every], fontsize=SMALL)
    axes.set_yticks(list(every), names, fontsize=SMALL)
    axes.tick_params(left=False, bottom=False)
    axes.spines[:].set_visible(False)
    axes.set_title(f"Do these {size} pull the same way?")
    figure.colorbar(image, ax=axes, label="cosine", fraction=0.04, pad=0.02)
    return figure


def _short(name: str) -> str:
    return chart_text(shorten(name.removesuffix(".safetensors"), LONGEST))
