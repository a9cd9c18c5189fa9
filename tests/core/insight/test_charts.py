"""Charts: the right size, the same bytes every time, and no trace in matplotlib's global state."""

import functools
import struct
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.modules import select
from core import LoraError, RankRule, analyze_lora, chart, rank_chart, resize
from core.insight.charts import CHARTS
from core.insight.drawing import save_chart, shorten, to_png
from tests.helpers import KOHYA, lora, randn
from tests.marks import one_in

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "core" / "samples" / "character_kohya.safetensors"
SIZES = {"flux": 57, "qwen-image": 60, "sdxl": 55, "sd1.5": 28, "wan2.1-14b": 40, "z-image": 34}


def state_of(family: str) -> dict:
    """A LoRA with every module of a full-size file, the weights small; spectra that differ."""
    state = {}
    encoders = family.startswith("sd")
    for number, module in enumerate(select(family, "kohya", text_encoders=encoders)):
        shape = (10, 9, *[1] * (len(module.shape) - 2))
        state |= lora(module.name, shape, 4, KOHYA, 0.1 + (number * 7 % 13), seed=number)
    return state


@functools.cache
def table_of(family: str) -> pd.DataFrame:
    return analyze_lora(state_of(family), statistics="spectral")


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


def test_the_heat_map_tells_nothing_there_from_little():
    axes = chart(table_of("flux"), "heat map").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()][:4] == ["0", "2", "4", "6"]
    grid = axes.images[0].get_array()
    assert grid.shape == (6, 57)
    # Double blocks have no fused layers, single blocks no separate ones.
    assert grid.mask.sum() == 2 * 19 + 3 * 38
    assert float(grid.min()) > 0


def test_the_spectrum_has_the_strongest_layers_and_ends_where_their_rank_does():
    table = table_of("flux")
    figure = chart(table, "spectrum")
    lines = figure.axes[0].lines
    assert len(lines) == 8
    norms = table["dW.svd.spectral_norm"].sort_values(ascending=False)
    assert [line.get_ydata()[0] for line in lines] == list(norms[:8])
    assert all(pd.notna(line.get_ydata()).sum() == 4 for line in lines)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0].startswith(table.loc[norms.index[0], "module"])


@pytest.mark.slow
@pytest.mark.parametrize("importance", ["softmax", "energy"])
def test_the_cumulative_chart_marks_the_threshold(importance):
    figure = chart(table_of("wan2.1-14b"), "cumulative", importance, 2.0, 0.5)
    title = figure.axes[0].get_title(loc="left")
    assert title.startswith("50 % is reached by") and title.endswith("of 40 blocks")
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert set(legend) == {
        "share of the energy",
        "softmax of spectral norms, temperature 2",
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
    assert title == f"Rank of 28 modules, {report.retained_energy:.2%} of the energy kept"


def least_kept(report) -> float:
    return min(row.retained_energy for row in report.modules)


@pytest.mark.slow
def test_one_block_and_one_layer_can_be_drawn():
    table = analyze_lora(lora("double_blocks.3.img_attn.proj", rank=1))
    for kind in CHARTS:
        assert size_of(to_png(chart(table, kind))) == (1024, 640)


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


@pytest.mark.slow
def test_files_are_png_or_svg(tmp_path):
    figure = chart(table_of("sd1.5"), "blocks")
    assert save_chart(figure, tmp_path / "a.png").read_bytes() == to_png(figure)
    svg = save_chart(figure, tmp_path / "a.svg").read_bytes()
    assert b"<svg" in svg and svg == save_chart(figure, tmp_path / "b.SVG").read_bytes()
    assert b"<dc:date>" not in svg
    with pytest.raises(LoraError, match=r"written as \.png or \.svg"):
        save_chart(figure, tmp_path / "a.jpg")
    with pytest.raises(LoraError, match="cannot be written"):
        save_chart(figure, tmp_path / "missing" / "a.png")


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


@pytest.mark.slow
def test_global_settings_are_neither_used_nor_changed():
    import matplotlib

    expected = to_png(chart(table_of("flux"), "blocks"))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 300}):
        before = dict(matplotlib.rcParams)
        assert to_png(chart(table_of("flux"), "blocks")) == expected
        assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_drawing_leaves_pyplot_alone():
    code = (
        "import sys; sys.path.insert(0, '.'); from core import analyze_lora, chart\n"
        "from core.insight.charts import to_png\n"
        "to_png(chart(analyze_lora('core/samples/character_kohya.safetensors'), 'blocks'))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


CLIP_LAYER = "clip_l.transformer.text_model.encoder.layers.3.mlp.fc1"


@pytest.mark.parametrize(
    ("name", "length", "short"),
    [
        ("double_blocks.3", 20, "double_blocks.3"),
        ("output_blocks.0.1.transformer_blocks.0.attn2.to_k", 44, None),
        (CLIP_LAYER, 34, "clip_l.encoder.layers.3...fc1"),
        (CLIP_LAYER, 27, "clip_l.encoder.layers.3..."),
        ("a_name_without_any_dots_at_all", 12, "a_name_wi..."),
    ],
)
def test_long_names_keep_block_and_layer(name, length, short):
    result = shorten(name, length)
    assert len(result) <= length
    if short:
        assert result == short
    else:
        assert "..." in result
        assert name.startswith(result.split("...")[0]) and name.endswith(result.split("...")[1])
        assert result.split("...")[0].count(".") == 1
