"""The check of all columns: right for the sample files, and it notices what is wrong."""

from pathlib import Path

import pytest

from benchmarks.columns import compare
from core import analyze_lora
from core.insight.analysis import EXTRA_COLUMNS, notebook_columns

SAMPLE = Path(__file__).parents[2] / "core" / "samples" / "character_kohya.safetensors"


@pytest.fixture(scope="module")
def analysis():
    return analyze_lora(SAMPLE, return_df=False)


@pytest.fixture
def rows(analysis):
    """A table that a test may change."""
    return [dict(row) for row in analysis]


def test_every_column_of_every_layer_is_compared_and_right(rows):
    worst, wrong = compare(SAMPLE, rows, {row["layer"] for row in rows})
    assert wrong == []
    named = {"block", "component", "module"}
    assert worst.keys() == {*notebook_columns(), *EXTRA_COLUMNS} - named


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("dW.percentiles.p95", float("nan"), "p95 is nan"),
        ("A.basic.std", 1.0, "A.basic.std is off by"),
        ("dW.svd.s8", 1.0, "dW.svd.s8 is off by"),
        ("dW.sign.pos", 0, "dW.sign.pos is off by"),
        ("rank", 5, "rank is off by inf"),
        ("B.sign.error", "OSError: gone", "B.sign.error is OSError: gone"),
        ("dW.energy_share", 0.5, "dW.energy_share is off by"),
    ],
)
def test_what_is_wrong_is_named(rows, column, value, complaint):
    rows[3][column] = value
    _, wrong = compare(SAMPLE, rows, {rows[3]["layer"]})
    assert any(complaint in line and rows[3]["layer"] in line for line in wrong)
