"""Figures as files: the same bytes every time, no trace in matplotlib's global state."""

import subprocess
import sys
from pathlib import Path

import pytest

from core import LoraError, chart
from core.insight.drawing import save_chart, shorten, to_png
from tests.core.insight.tables import table_of

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_files_are_png_or_svg(tmp_path):
    figure = chart(table_of("sd1.5"), "blocks")
    assert save_chart(figure, tmp_path / "a.png").read_bytes() == to_png(figure)
    svg = save_chart(figure, tmp_path / "a.svg").read_bytes()
    assert b"<svg" in svg and svg == save_chart(figure, tmp_path / "b.SVG").read_bytes()
    assert b"<dc:date>" not in svg
    with pytest.raises(LoraError, match=r"written as \.png or \.svg"):
        save_chart(figure, tmp_path / "a.jpg")
    with pytest.raises(LoraError, match="does not exist; create it"):
        save_chart(figure, tmp_path / "missing" / "a.png")


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
