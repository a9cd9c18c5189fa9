"""Pictures of comparisons: what is drawn is what was measured."""

import pytest

from core import compare, comparison_chart, to_png
from tests.helpers import flux_file

FILES = [flux_file(spelling, seed=i) for i, spelling in enumerate(("kohya", "diffusers", "kohya"))]


@pytest.mark.slow
def test_two_files_along_the_network():
    found = compare(FILES[:2])
    figure = comparison_chart(found)
    cosines, norms = figure.axes
    heights = [bar.get_height() for bar in cosines.patches]
    assert heights == pytest.approx(list(found.blocks["cosine"]))
    drawn = [stairs.get_data().values for stairs in norms.patches]
    assert list(drawn[0]) == pytest.approx(list(found.blocks["first_norm"]))
    assert list(drawn[1]) == pytest.approx(list(found.blocks["second_norm"]))
    assert to_png(figure) == to_png(comparison_chart(compare(FILES[:2])))


@pytest.mark.slow
def test_more_files_are_a_heat_map():
    found = compare(FILES)
    axes, bar = comparison_chart(found).axes
    (image,) = axes.images
    assert image.get_array().tolist() == pytest.approx(found.cosines.to_numpy(), abs=1e-12)
    assert image.get_clim() == (-1, 1) and bar.get_ylabel() == "cosine"
    assert [text.get_text() for text in axes.texts][:2] == [
        "1.00",
        f"{found.cosines.iloc[0, 1]:.2f}",
    ]
    many = comparison_chart(compare(FILES * 10))
    assert not many.axes[0].texts and len(many.axes[0].get_yticks()) <= 26
