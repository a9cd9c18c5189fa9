"""Charts: the right size, the same bytes every time, and no trace in matplotlib's global state."""

import io
import struct
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from core import LoraError, RankRule, analyze_lora, chart, rank_chart, resize
from core.insight.charts import CHARTS
from core.insight.drawing import DARK, LIGHT, PALETTES, PAPERS, shorten, to_png
from tests.core.insight.tables import table_of
from tests.helpers import lora, lora_file, randn
from tests.marks import one_in

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "core" / "samples" / "character_kohya.safetensors"
SIZES = {"flux": 57, "qwen-image": 60, "sdxl": 55, "sd1.5": 28, "wan2.1-14b": 40, "z-image": 34}


def size_of(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


def texts(figure) -> list[str]:
    """Everything that is written in a figure."""
    figure.draw_without_rendering()
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [axes.get_title(loc="left") for axes in figure.axes]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    found += [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    return [text for text in found if text]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHARTS)
def test_the_same_table_gives_the_same_picture(kind):
    png = to_png(chart(table_of("sdxl"), kind))
    assert png == to_png(chart(table_of("sdxl").copy(), kind))
    assert b"Software" not in png  # the version of matplotlib


@pytest.mark.slow
@pytest.mark.parametrize("family", one_in(6, SIZES))
@pytest.mark.parametrize("kind", one_in(2, CHARTS))
def test_every_chart_fits_and_its_labels_do_not_overlap(family, kind):
    figure = chart(table_of(family), kind)
    assert size_of(to_png(figure)) == (1024, 640)
    width, height = figure.canvas.get_width_height()
    for axes in figure.axes:
        labels = [*axes.texts, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        for side, (low, high) in enumerate((axes.get_xlim(), sorted(axes.get_ylim()))):
            ticks = axes.get_yticklabels() if side else axes.get_xticklabels()
            labels += [text for text in ticks if low <= text.get_position()[side] <= high]
        for text in labels:
            if text.get_text().strip():
                box = text.get_window_extent()
                assert box.x0 >= -1 and box.y0 >= -1, text
                assert box.x1 <= width + 1 and box.y1 <= height + 1, text
    axes = figure.axes[0]
    title = axes._left_title.get_window_extent()
    assert not any(title.overlaps(text.get_window_extent()) for text in axes.texts)
    if kind in ("blocks", "heat map"):
        for group in (axes.get_xticklabels(), axes.texts):
            boxes = [text.get_window_extent() for text in group if text.get_text()]
            for number, box in enumerate(boxes):
                assert not any(box.padded(2).overlaps(other) for other in boxes[number + 1 :])


@pytest.mark.slow
def test_blocks_are_in_network_order_and_coloured_by_container():
    axes = chart(table_of("flux"), "blocks").axes[0]
    assert len(axes.patches) == 57
    colours = [patch.get_facecolor() for patch in axes.patches]
    assert len(set(colours[:19])) == len(set(colours[19:])) == 1 and colours[0] != colours[19]
    total = sum(patch.get_height() for patch in axes.patches)
    assert total == pytest.approx(100)
    sdxl = chart(table_of("sdxl"), "blocks").axes[0]
    assert len({patch.get_facecolor() for patch in sdxl.patches}) == 5
    assert "clip_l.encoder.layers" in texts(chart(table_of("sdxl"), "blocks"))


@pytest.mark.slow
def test_the_heat_map_tells_nothing_there_from_little():
    axes = chart(table_of("flux"), "heat map").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()][:4] == ["0", "5", "10", "0"]
    grid = axes.images[0].get_array()
    assert grid.shape == (6, 57)
    # Double blocks have no fused layers, single blocks no separate ones.
    assert grid.mask.sum() == 2 * 19 + 3 * 38
    assert float(grid.min()) > 0


@pytest.mark.slow
def test_the_spectrum_has_the_strongest_layers_and_ends_where_their_rank_does():
    table = table_of("flux")
    figure = chart(table, "spectrum")
    lines = figure.axes[0].lines
    assert len(lines) == 8
    norms = table["dW.svd.spectral_norm"].sort_values(ascending=False)
    assert [line.get_ydata()[0] for line in lines] == list(norms[:8])
    assert all(pd.notna(line.get_ydata()).sum() == 4 for line in lines)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0].startswith(shorten(table.loc[norms.index[0], "module"], 24))


@pytest.mark.slow
@pytest.mark.parametrize("importance", ["softmax", "energy"])
def test_the_cumulative_chart_marks_the_threshold(importance):
    figure = chart(table_of("wan2.1-14b"), "cumulative", importance, 2.0, 0.5)
    title = figure.axes[0].get_title(loc="left")
    assert title.startswith("50 % is reached by") and title.endswith("of 40 blocks")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(legend) == {
        "share of the energy",
        "softmax, temperature 2",
    }


@pytest.mark.slow
def test_the_rank_chart_shows_ranks_before_and_after():
    report = resize(SAMPLE, RankRule("rank", 6), preview=True).report
    figure = rank_chart(report)
    assert size_of(to_png(figure)) == (1024, 640)
    before, after = (list(patch.get_data().values) for patch in figure.axes[0].patches[:2])
    assert set(before) == {4, 8, 10, 12, 16}
    assert after == [min(rank, 6) for rank in before]
    kept = figure.axes[1].patches[0].get_data().values
    assert max(kept) == 100 and min(kept) == pytest.approx(100 * least_kept(report))
    assert {"double_blocks", "single_blocks"} <= set(texts(figure))
    title = figure.axes[0].get_title(loc="left")
    assert title == "Rank of 28 modules"
    assert f"{report.retained_energy:.2%} of the energy kept" in texts(figure)


def least_kept(report) -> float:
    return min(row.retained_energy for row in report.modules)


@pytest.mark.slow
def test_one_block_and_one_layer_can_be_drawn():
    table = analyze_lora(lora("double_blocks.3.img_attn.proj", rank=1))
    for kind in CHARTS:
        assert size_of(to_png(chart(table, kind))) == (1024, 640)


@pytest.mark.slow
def test_blocks_and_ranks_are_counted_in_whole_numbers():
    table = analyze_lora(lora("double_blocks.3.img_attn.proj", rank=1))
    report = resize(SAMPLE, RankRule("rank", 3), preview=True).report
    counts = chart(table, "cumulative").axes[0].get_xticks()
    ranks = rank_chart(report).axes[0].get_yticks()
    assert all(float(tick).is_integer() for tick in (*counts, *ranks))


@pytest.mark.slow
def test_a_zero_lora_can_be_drawn():
    state = lora("blocks.0.attn.q")
    state["blocks.0.attn.q.lora_B.weight"] *= 0
    table = analyze_lora(state)
    for kind in CHARTS:
        to_png(chart(table, kind))


def test_what_cannot_be_drawn_says_why():
    with pytest.raises(LoraError, match="chart 'pie' is unknown; choose one of blocks, heat map"):
        chart(table_of("flux"), "pie")
    unmeasured = analyze_lora({"blocks.0.q.oft_blocks": randn((2, 4, 4))})
    with pytest.raises(LoraError, match="no module was measured"):
        chart(unmeasured, "blocks")
    outside = analyze_lora(lora("img_in"))
    with pytest.raises(LoraError, match="part of a block"):
        chart(outside, "heat map")
    report = resize(lora("img_in"), RankRule("rank", 2), preview=True).report
    report.modules[0].rank = None
    with pytest.raises(LoraError, match="no module of the output has a rank"):
        rank_chart(report)


def test_a_spectrum_needs_singular_values():
    table = analyze_lora(lora_file(["blocks.0.attn", "blocks.1.attn"]), statistics="energy")
    assert chart(table, "blocks") and chart(table, "cumulative")
    for name, importance in (("spectrum", "energy"), ("blocks", "softmax")):
        with pytest.raises(LoraError, match="has no singular values"):
            chart(table, name, importance)


def luminance(colour: str) -> float:
    """Of a colour #RRGGBB, as WCAG 2 has it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_words_and_colours_stand_out_from_the_background(theme):
    paper, ink, _, small = PAPERS[theme]
    assert contrast(paper, ink) > 12 and contrast(paper, small) > 7
    assert all(contrast(paper, colour) > 2 for colour in PALETTES[theme])


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHARTS)
def test_a_dark_chart_is_dark_all_over(kind):
    """Nothing of the light theme is left: no letter in black, no corner in white."""
    with Image.open(io.BytesIO(to_png(chart(table_of("flux"), kind, theme=DARK)))) as picture:
        colours = {tuple(c[:3]): n for n, c in picture.convert("RGB").getcolors(1 << 20)}
    counted = sorted(colours, key=colours.get, reverse=True)
    assert counted[0] == (0x26, 0x26, 0x26)
    # The marker of the last line is white by itself, and heat is blue at one end.
    assert colours.get((0, 0, 0), 0) == 0
    assert colours.get((255, 255, 255), 0) < 2000
    with pytest.raises(LoraError, match="theme 'blue' is unknown; choose one of light, dark"):
        chart(table_of("flux"), kind, theme="blue")


@pytest.mark.slow
def test_letters_can_be_read_on_a_narrow_node():
    """On a node 320 pixels wide none is smaller than 8 pixels."""
    figure = chart(table_of("flux"), "blocks")
    figure.draw_without_rendering()
    shown = 320 / figure.canvas.get_width_height()[0]
    for axes in figure.axes:
        for text in [*axes.texts, axes._left_title, *axes.get_xticklabels(), axes.yaxis.label]:
            assert text.get_fontsize() / 72 * figure.dpi * shown >= 8, text
