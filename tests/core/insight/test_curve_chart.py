"""The chart of an extraction shows the points of its curve."""

import pytest

from core import FileError, curve_chart, to_png
from core.edits.curve import Curve, Layer


@pytest.mark.slow
def test_every_rank_has_its_size_and_error():
    curve = Curve((Layer([4.0, 3.0, 2.0], 5.0, 64, 128), Layer([1.0], 0.0, 16, 32)), 2)
    (axes,) = curve_chart(curve).axes
    sizes, errors = axes.lines[0].get_data()
    assert list(sizes) == [point.bytes / 1e6 for point in curve.points]
    assert list(errors) == [point.most for point in curve.points]
    assert [text.get_text() for text in axes.texts][:2] == ["rank 1", "rank 2"]
    assert to_png(curve_chart(curve)) == to_png(curve_chart(curve))
    with pytest.raises(FileError, match="no layer has a rank"):
        curve_chart(Curve())
