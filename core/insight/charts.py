"""Charts of an analysis: figures of 1024 x 640 pixels that say the same thing on every machine.

Their letters are large: a node shows them at a third of their size. Colours are Okabe and Ito's,
which colour-blind people can tell apart, and cividis for heat. Only matplotlib's own font and
settings are used, and none of its global figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..deferred import np
from ..errors import FileError, SettingError, one_of
from ..naming.blocks import LAYER_TYPES, container_of, locate, network_order
from ..quoting import chart as chart_text
from ..running.report import Report
from .base_statistics import RELATIVE_NORM
from .drawing import (
    LIGHT,
    LINE,
    MARKERS,
    MUTED,
    SMALL,
    mark_groups,
    new_figure,
    note,
    palette,
    paper,
    save_chart,
    shorten,
    style,
    to_png,
)
from .importance import (
    ENERGY,
    FROBENIUS_NORM,
    IMPORTANCES,
    RELATIVE,
    SOFTMAX,
    SPECTRAL_NORM,
    importance_table,
    up_to,
)

__all__ = ["CHARTS", "chart", "rank_chart", "save_chart", "to_png"]

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def chart(
    df: pd.DataFrame,
    name: str,
    importance: str = ENERGY,
    temperature: float = 1.0,
    threshold: float = 0.9,
    theme: str = LIGHT,
) -> Figure:
    """A figure of an analysis of 1024 x 640 pixels; `name` is one of CHARTS.

    `df` is the analysis. `importance` and `temperature` say how blocks are weighed, `threshold`
    where the cumulative chart draws its line. `theme` is light or dark. Raises SettingError for an
    unknown name and for what needs singular values that the analysis lacks, FileError where nothing
    was measured.

    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral")
    >>> figure = core.chart(table, "blocks")
    """
    one_of("chart", name, CHARTS)
    measured = df[df[FROBENIUS_NORM].notna()] if FROBENIUS_NORM in df.columns else df.head(0)
    spectral = name == "spectrum" or importance == SOFTMAX
    if spectral and len(measured) and SPECTRAL_NORM not in df.columns:
        raise SettingError(
            f"chart {name}: this analysis has no singular values",
            fix="analyse with statistics=spectral",
            file=df.attrs.get("lora", ""),
        )
    if measured.empty:
        raise FileError(
            "there is nothing to draw: no module was measured",
            fix="take another LoRA, or more of its layers",
            file=df.attrs.get("lora", ""),
        )
    with style(theme):
        return CHARTS[name](measured, importance, temperature, threshold)


def rank_chart(report: Report, theme: str = LIGHT) -> Figure:
    """Rank and retained energy of every module along the network, for the `report` of a resize.

    `theme` is light or dark. Raises FileError where no module of the output has a rank.

    >>> resized = core.resize(core.samples()[1], core.RankRule("energy", 0.9), preview=True)
    >>> figure = core.rank_chart(resized.report)
    """
    rows = [row for row in report.kept if row.rank is not None]
    if not rows:
        raise FileError(
            "there is nothing to draw: no module of the output has a rank",
            fix="take another LoRA, or more of its layers",
            file=" and ".join(entry["name"] for entry in report.inputs),
        )
    rows.sort(key=lambda row: _module_order(row.module))
    with style(theme):
        figure = new_figure()
        ranks, energies = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        before = [sum(rank for rank in row.ranks if rank is not None) for row in rows]
        after = [row.rank or 0 for row in rows]
        edges = range(len(rows) + 1)
        ranks.stairs(before, edges, fill=True, color=MUTED, alpha=0.5, label="before")
        ranks.stairs(after, edges, fill=True, color=palette()[0], label="after")
        ranks.set(ylabel="rank", ylim=(0, None), title=f"Rank of {len(rows)} modules")
        note(ranks, f"{report.retained_energy:.2%} of the energy kept")
        ranks.locator_params(axis="y", integer=True)
        ranks.legend(loc="lower right", ncols=2, frameon=False, bbox_to_anchor=(1, 0.97),
                     fontsize=SMALL, handlelength=1, borderaxespad=0)  # fmt: skip
        kept = [100 * row.retained_energy for row in rows]
        energies.stairs(kept, edges, color=palette()[5], baseline=None, linewidth=1.2)
        low = min(kept)
        energies.set(ylabel="energy, %", ylim=(max(0, low - 0.1 * (100.5 - low)), 100.5))
        energies.axhline(100 * report.retained_energy, color=MUTED, linewidth=1, linestyle="--")
        energies.set_xlim(0, len(rows))
        containers = [container_of(locate(row.module).block or "outside") for row in rows]
        mark_groups(energies, containers, [""] * len(rows), {})
        return figure


def _importance_name(importance: str, temperature: float) -> str:
    if importance == ENERGY:
        return "share of the energy"
    if importance == RELATIVE:
        return "relative to the base"
    return f"softmax, temperature {temperature:g}"


def _blocks_chart(
    df: pd.DataFrame, importance: str, temperature: float, threshold: float
) -> Figure:
    """Importance per block in network order, coloured by container."""
    table = importance_table(df, importance, temperature)
    shares = {
        str(b): float(s) for b, s in zip(table["block"], table["block_importance"], strict=True)
    }
    blocks = sorted(shares, key=network_order)
    containers = [container_of(block) for block in blocks]
    colours = _colours(containers)
    figure = new_figure()
    axes = figure.subplots()
    heights = [100 * shares[block] for block in blocks]
    strongest = [f"{shorten(block, 30)} {shares[block]:.1%}" for block in table["block"][:3]]
    while len(strongest) > 1 and len("strongest: " + ", ".join(strongest)) > LINE - 6:
        strongest.pop()
    axes.bar(range(len(blocks)), heights, width=0.85, color=[colours[name] for name in containers])
    axes.grid(axis="y")
    axes.set(
        ylabel=f"{_importance_name(importance, temperature)}, %",
        title=f"Importance of {len(blocks)} blocks",
        xlim=(-0.7, len(blocks) - 0.3),
        ylim=(0, 1.05 * max(heights) or 1),
    )
    note(axes, "strongest: " + ", ".join(strongest))
    mark_groups(axes, containers, [_index(block) for block in blocks], colours, centred=True)
    return figure


def _heat_map(df: pd.DataFrame, importance: str, temperature: float, threshold: float) -> Figure:
    """Block against module kind; the colour is the Frobenius norm of what is there."""

    places = [locate(str(name)) for name in df["module"]]
    cells: dict[tuple[str, str], float] = {}
    for place, norm in zip(places, df[FROBENIUS_NORM], strict=True):
        if place.block:
            key = place.layer_type, place.block
            cells[key] = cells.get(key, 0.0) + float(norm) ** 2
    if not cells:
        raise FileError(
            "there is nothing to draw: no module is part of a block",
            fix="take another LoRA, or more of its layers",
            file=df.attrs.get("lora", ""),
        )
    blocks = sorted({block for _, block in cells}, key=network_order)
    kinds = [kind for kind in LAYER_TYPES if any((kind, block) in cells for block in blocks)]
    grid = np.full((len(kinds), len(blocks)), np.nan)
    for (kind, block), energy in cells.items():
        grid[kinds.index(kind), blocks.index(block)] = energy**0.5
    figure = new_figure()
    axes = figure.subplots()
    axes.set_facecolor(paper()[2])
    image = axes.imshow(grid, aspect="auto", cmap="cividis", vmin=0, interpolation="nearest")
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_title("Size of the change")
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="Frobenius norm", fraction=0.05, pad=0.02)
    containers = [container_of(block) for block in blocks]
    mark_groups(axes, containers, [_index(block) for block in blocks], {}, True, 500)
    for start in range(1, len(containers)):
        if containers[start] != containers[start - 1]:
            axes.axvline(start - 0.5, color=paper()[0], linewidth=3)
    note(axes, "by block and kind" + ("; grey: nothing there" if np.isnan(grid).any() else ""))
    return figure


def _spectrum(df: pd.DataFrame, importance: str, temperature: float, threshold: float) -> Figure:
    """The leading singular values of the strongest layers."""
    columns = [f"dW.svd.s{i + 1}" for i in range(len(df.columns)) if f"dW.svd.s{i + 1}" in df]
    strongest = df.sort_values(SPECTRAL_NORM, ascending=False, kind="stable").head(len(MARKERS))
    figure = new_figure()
    axes = figure.subplots()
    steps = range(1, len(columns) + 1)
    for number, (_, row) in enumerate(strongest.iterrows()):
        values = [float(row[column]) for column in columns]
        kept = float(row["dW.svd.energy_ratio_topk"])
        # Zeros have no place on a logarithmic axis: a line ends where the rank does.
        axes.plot(
            steps, [value if value > 0 else float("nan") for value in values],
            color=palette()[number], marker=MARKERS[number], markersize=6, linewidth=1.6,
            label=f"{chart_text(shorten(str(row['module']), 24))} {kept:.0%}",
        )  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.set_xticks(list(steps) if len(columns) <= 16 else list(steps)[:: len(columns) // 8])
    axes.grid(which="both")
    axes.set(
        ylabel="singular value",
        title=f"The {len(strongest)} strongest of {len(df)} layers",
    )
    figure.legend(
        loc="outside lower center", ncols=2, frameon=False, fontsize=SMALL, handlelength=1,
        labelspacing=0.25, columnspacing=1, borderpad=0, borderaxespad=0.2,
        title=f"layer, energy in its first {len(columns)} values", title_fontsize=SMALL,
    )  # fmt: skip
    return figure


def _cumulative(df: pd.DataFrame, importance: str, temperature: float, threshold: float) -> Figure:
    """How many blocks, strongest first, hold how much; with the threshold."""
    figure = new_figure()
    axes = figure.subplots()
    needed = {SOFTMAX: SPECTRAL_NORM, RELATIVE: RELATIVE_NORM}
    measured = [name for name in IMPORTANCES if needed.get(name, FROBENIUS_NORM) in df.columns]
    for each in sorted(measured, key=lambda name: name == importance):
        table = importance_table(df, each, temperature)
        shares = [0.0, *(100 * table["cumulative"])]
        chosen = up_to(table, threshold)
        main = each == importance
        colour = palette()[0] if main else MUTED
        axes.plot(
            range(len(shares)), shares, drawstyle="default", color=colour, marker=".",
            markersize=7 if main else 4, linewidth=2 if main else 1.4,
            linestyle="-" if main else "--", label=_importance_name(each, temperature),
        )  # fmt: skip
        if main:
            axes.plot(len(chosen), shares[len(chosen)], "o", color=palette()[5], markersize=10)
            axes.vlines(len(chosen), 0, shares[len(chosen)], color=palette()[5], linewidth=1)
            title = f"{100 * threshold:g} % is reached by {len(chosen)} of {len(table)} blocks"
            lines = [chart_text(shorten(str(block), 24)) for block in chosen["block"]]
            most = 5
            if len(lines) > most:
                lines = [*lines[:most], f"and {len(lines) - most} more"]
    axes.axhline(100 * threshold, color=palette()[5], linewidth=1, linestyle=":")
    # Shares are added from the largest on, so the curve is above the diagonal: this corner is free.
    axes.text(
        0.985, 0.04, "\n".join(lines), transform=axes.transAxes, ha="right", va="bottom",
        multialignment="left", fontsize=SMALL, linespacing=1.3,
        bbox={"facecolor": paper()[0], "edgecolor": paper()[2]},
    )  # fmt: skip
    axes.grid()
    axes.set(
        title=title,
        xlabel="blocks, most important first",
        ylabel="importance, %",
        ylim=(0, 103),
        xlim=(0, max(len(table) + 0.5, 1)),
    )
    axes.locator_params(axis="x", integer=True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=SMALL,
                  handlelength=1.4, columnspacing=1)  # fmt: skip
    return figure


CHARTS: dict[str, Callable[[pd.DataFrame, str, float, float], Figure]] = {
    "blocks": _blocks_chart,
    "heat map": _heat_map,
    "spectrum": _spectrum,
    "cumulative": _cumulative,
}


def _colours(containers: Sequence[str]) -> dict[str, str]:
    names = list(dict.fromkeys(containers))
    colours = palette()
    return {name: colours[number % len(colours)] for number, name in enumerate(names)}


def _index(block: str) -> str:
    return block.removeprefix(container_of(block)).lstrip(".")


def _module_order(module: str) -> tuple[bool, tuple[bool, int, str, int], str]:
    place = locate(module)
    return place.block is None, network_order(place.block or ""), module
