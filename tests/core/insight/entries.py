"""What the entries of a matrix have to be: numpy's and torch's figures."""

import numpy as np
import pytest
import torch

from core import LowRank
from core.insight.elements import PERCENTILES, Entries
from tests.helpers import randn


def low_rank(out=60, inner=50, rank=5, seed=0, dtype=torch.float32) -> LowRank:
    up, down = randn((out, rank), seed, "up", dtype=dtype), randn((rank, inner), seed, dtype=dtype)
    return LowRank.of(up, down, (out, inner))


def assert_exact(entries: Entries, dense: torch.Tensor) -> None:
    """Every figure of the entries is that of numpy and torch on the float32 matrix."""
    flat = dense.float().reshape(-1).numpy()
    assert entries.count == flat.size
    assert entries.minimum == flat.min()
    assert entries.maximum == flat.max()
    assert entries.median == float(torch.median(torch.from_numpy(flat)))
    assert entries.positive == (flat > 0).sum()
    assert entries.negative == (flat < 0).sum()
    wide = flat.astype(np.float64)
    scale = np.abs(wide).max()
    assert entries.l1 == pytest.approx(np.abs(wide).sum(), rel=1e-6)
    assert entries.l2 == pytest.approx(np.linalg.norm(wide), rel=1e-6)
    assert entries.mean == pytest.approx(wide.mean(), rel=1e-6, abs=1e-9 * scale)
    assert entries.standard_deviation == pytest.approx(wide.std(), rel=1e-6, abs=1e-7 * scale)
    for percent in (*PERCENTILES, 0, 33.3, 100):
        assert entries.percentile(percent) == pytest.approx(np.percentile(wide, percent), rel=1e-12)
