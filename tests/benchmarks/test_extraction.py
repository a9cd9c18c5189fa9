"""Every way to extract a LoRA ends at a LoRA of the same change, ours with the least error."""

import pytest

from benchmarks.extraction import (
    by_dense_svd,
    by_svd_lowrank,
    errors,
    extracted_by,
    extraction,
    pair,
)
from benchmarks.rows import Workshop


@pytest.mark.slow
def test_every_way_ends_at_the_change_and_clamping_costs(tmp_path):
    base, tuned = pair(tmp_path, 24)
    other, rows = tmp_path / "other.safetensors", list(extraction(Workshop(tmp_path, 1, "some")))
    ours = rows[0].details["error"]
    assert 0.1 < ours < 1 and all(row.details["their error"] > ours for row in rows[2:])
    for way in (by_dense_svd, by_svd_lowrank):
        extracted_by(way, base, tuned, other)
        assert ours < errors(other, base, tuned) < 1
