"""Figures of entries are exact: the same as numpy and torch give on the dense matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import Dense, LoraError
from core.insight import elements
from core.insight.elements import Entries
from core.insight.statistics import Measured
from tests.core.insight.entries import assert_exact, low_rank
from tests.helpers import randn


@pytest.mark.parametrize(
    "matrix",
    [
        randn((37, 53)),
        randn((37, 53)).abs(),
        -randn((8, 8)).abs(),
        randn((40, 40)).bfloat16().float(),  # ties
        randn((64, 64)).sign(),  # two numbers only
        randn((64, 64)).round(),  # a few numbers, zeros among them
        randn((50, 40)) * (torch.arange(50) % 3 == 0)[:, None],  # zero rows
        torch.zeros(12, 7),
        -torch.zeros(5, 5),
        torch.cat([torch.zeros(4, 4), -torch.zeros(4, 4), randn((1, 4))]),
        torch.full((9, 9), 0.1),
        torch.full((9, 9), -3.0e8),
        torch.tensor([[2.5]]),
        torch.tensor([[2.0, -1.0]]),
        randn((30, 30)) * 1e-40,  # denormal numbers
        torch.tensor([[1e-45, -1e-45, 0.0, -0.0, 1e-41]]),
        randn((30, 30)) * 1e36,
        torch.tensor([[3.4e38, -3.4e38, 1.0]]),
        10.0 ** (40 * torch.rand((50, 50), generator=torch.Generator().manual_seed(1)) - 20),
    ],
)
@pytest.mark.parametrize("tile", [100, 1 << 19])
def test_entries_of_tensors_are_exact(matrix, tile, monkeypatch):
    monkeypatch.setattr(elements, "TILE", tile)
    assert_exact(Entries.of_tensor(matrix), matrix)


@pytest.mark.parametrize("tile", [100, 1 << 19])
@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
)
@pytest.mark.parametrize(
    "matrix",
    [
        randn((37, 53)),
        randn((64, 64)).round(),
        randn((30, 30)) * 1e-6,  # denormal numbers of float16, zeros of float8
        torch.zeros(12, 7),
        -torch.zeros(5, 5),
        torch.full((9, 9), -3.0),
        torch.tensor([[2.5]]),
        torch.tensor([[2.0, -1.0, 0.0, -0.0]]),
    ],
)
def test_entries_of_few_bits_are_exact(matrix, dtype, tile, monkeypatch):
    monkeypatch.setattr(elements, "TILE", tile)
    stored = matrix.to(dtype)
    entries = Entries.of_tensor(stored)
    assert_exact(entries, stored)
    seen = torch.cat(list(entries.tiles()))
    assert seen.dtype == torch.float32
    assert torch.equal(seen, stored.float().reshape(-1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e5m2])
def test_entries_of_few_bits_that_are_no_numbers_are_an_error(bad, dtype):
    tensor = randn((5, 5))
    tensor[2, 3] = bad
    with pytest.raises(LoraError, match="NaN or Inf"):
        _ = Entries.of_tensor(tensor.to(dtype)).median


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
    st.floats(0, 100),
)
def test_any_percentile_of_any_numbers_is_numpys(numbers, percent):
    tensor = torch.tensor(numbers, dtype=torch.float32)
    entries = Entries.of_tensor(tensor)
    wide = tensor.double().numpy()
    expected = np.percentile(wide, percent)
    tiny = 1e-12 * abs(wide).max()
    assert entries.percentile(percent) == pytest.approx(expected, rel=1e-9, abs=tiny)
    assert entries.median == float(torch.median(tensor))


@pytest.mark.parametrize("shape", [(60, 50), (1, 30), (30, 1), (3, 1000), (1, 1)])
@pytest.mark.parametrize("tile", [64, 1 << 19])
def test_entries_of_a_product_are_those_of_the_dense_update(shape, tile, monkeypatch):
    monkeypatch.setattr(elements, "TILE", tile)
    update = low_rank(*shape)
    measured = Measured(update)
    dense = torch.cat([tile.clone() for tile in measured.entries.tiles()])
    assert torch.allclose(dense, update.dense(), atol=1e-6)
    assert_exact(measured.entries, dense)


def test_float64_updates_are_measured_in_float64():
    update = low_rank(dtype=torch.float64)
    entries = Measured(update).entries
    dense = update.dense()
    assert entries.minimum == float(dense.min())
    assert entries.percentile(25) == pytest.approx(np.percentile(dense.numpy(), 25), rel=1e-7)
    tiny = Dense(dense * 1e-60)
    assert Measured(tiny).entries.positive == int((dense > 0).sum())


def test_the_mean_and_the_spread_of_an_offset_are_not_lost():
    tensor = 1000 + randn((100, 100)).float()
    entries = Entries.of_tensor(tensor)
    expected = float(tensor.double().std(unbiased=False))
    assert entries.standard_deviation == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_entries_that_are_no_numbers_are_an_error(bad):
    tensor = randn((5, 5))
    tensor[2, 3] = bad
    with pytest.raises(LoraError, match="NaN or Inf"):
        _ = Entries.of_tensor(tensor).median


def test_no_entries_are_an_error():
    with pytest.raises(LoraError, match="no entries"):
        _ = Entries.of_tensor(torch.ones(0, 4)).minimum
