"""Statistics are exact: the same numbers as numpy and torch give on the dense matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import Dense, LoraError, LowRank, analyze_lora, tensor_statistic, update_statistic
from core.insight import bins, elements, statistics
from core.insight.analysis import notebook_columns
from core.insight.elements import PERCENTILES, Entries
from core.insight.statistics import (
    TENSOR_STATISTICS,
    UPDATE_STATISTICS,
    Measured,
    columns_of,
    effective_rank,
    stable_rank,
)
from tests.helpers import lora, randn


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
@pytest.mark.parametrize("held", [0, 50, 1 << 22])
def test_order_statistics_stay_exact_when_their_candidates_are_many(held, monkeypatch):
    monkeypatch.setattr(bins, "HELD_CODES", held)
    monkeypatch.setattr(elements, "TILE", 100)
    for matrix in (randn((64, 64)).round(), torch.ones(64, 64), 1 + 1e-4 * randn((64, 64))):
        assert_exact(Entries.of_tensor(matrix), matrix)


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


@pytest.mark.parametrize(
    "update",
    [
        low_rank(),
        low_rank(8, 40, 20),  # more columns than it can have rank
        Dense(randn((20, 30))),
        Dense(randn((30, 20))),
        Dense(randn((6, 5, 3, 3))),
        Dense(randn((12,))),
        Dense(randn((20, 30), dtype=torch.float64)),
        Dense(randn((20, 4)) @ randn((4, 30), 1)),
    ],
    ids=str,
)
def test_singular_values_are_those_of_the_dense_update(update):
    dense = update.dense() if isinstance(update, LowRank) else update.values
    matrix = dense.double().flatten(1) if dense.ndim > 1 else dense.double()[:, None]
    expected = torch.linalg.svdvals(matrix)
    measured = Measured(update)
    values = torch.nn.functional.pad(measured.values, (0, len(expected) - len(measured.values)))
    assert torch.allclose(values, expected, rtol=1e-6, atol=1e-6 * float(expected[0]))
    assert measured.mean == pytest.approx(float(matrix.mean()), abs=1e-7)
    assert measured.l2 == pytest.approx(float(matrix.norm()), rel=1e-6)
    columns = statistics.svd(measured)
    assert columns["nuclear_norm"] == pytest.approx(float(expected.sum()), rel=1e-6)
    assert columns["energy_topk"] == pytest.approx(float(expected[:8].square().sum()), rel=1e-6)
    assert columns["s2"] == pytest.approx(
        float(expected[1]) if len(expected) > 1 else 0.0, rel=1e-6
    )


@pytest.mark.parametrize(
    "update",
    [
        LowRank.of(torch.zeros(5, 2), torch.ones(2, 6), (5, 6)),
        LowRank.of(torch.zeros(5, 0), torch.zeros(0, 6), (5, 6)),
        Dense(torch.zeros(4, 3)),
        Dense(torch.zeros(4)),
    ],
    ids=str,
)
def test_a_zero_update_has_zeros_everywhere(update):
    measured = Measured(update)
    row = columns_of(UPDATE_STATISTICS, measured, "dW") | columns_of(
        TENSOR_STATISTICS, measured.entries, "dW"
    )
    assert not [column for column in row if column.endswith(".error")]
    shares = {"dW.sign.zero_frac", "dW.svd.energy_ratio_topk"}
    counts = {"dW.sign.count", "dW.sign.zero"}
    assert all(value == (column in shares) for column, value in row.items() if column not in counts)
    assert effective_rank(measured.values) == stable_rank(measured.values) == 0


def test_effective_and_stable_rank_count_equal_singular_values():
    assert effective_rank(torch.full((7,), 3.0)) == pytest.approx(7)
    assert stable_rank(torch.full((7,), 3.0)) == pytest.approx(7)
    assert effective_rank(torch.tensor([5.0])) == stable_rank(torch.tensor([5.0])) == 1
    # exp(entropy of (1/2, 1/4, 1/4)) = 2^1.5; (4 + 1 + 1) / 4.
    values = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
    assert effective_rank(values) == pytest.approx(2**1.5)
    assert stable_rank(values) == pytest.approx(1.5)


@pytest.fixture
def registries():
    """What a test registers is forgotten after it."""
    before = [(registry, dict(registry)) for registry in (TENSOR_STATISTICS, UPDATE_STATISTICS)]
    yield statistics
    for registry, content in before:
        registry.clear()
        registry.update(content)


def test_one_decorated_function_is_a_new_statistic(registries):
    @tensor_statistic("cubes")
    def cubes(entries):
        return {"sum": sum(float(tile.pow(3).sum()) for tile in entries.tiles())}

    @update_statistic("half")
    def half(measured):
        return {"rank": len(measured.values) / 2}

    update = low_rank()
    row = columns_of(registries.TENSOR_STATISTICS, Entries.of_update(update), "dW")
    assert row["dW.cubes.sum"] == pytest.approx(float(update.dense().pow(3).sum()), rel=1e-4)
    assert columns_of(registries.UPDATE_STATISTICS, Measured(update), "dW")["dW.half.rank"] == 2.5


def test_a_statistic_that_fails_leaves_its_reason_and_the_others(registries):
    @tensor_statistic("broken")
    def broken(entries):
        raise ZeroDivisionError("no luck")

    row = columns_of(registries.TENSOR_STATISTICS, Entries.of_tensor(randn((4, 4))), "A")
    assert row["A.broken.error"] == "ZeroDivisionError: no luck"
    assert "A.basic.min" in row and "A.percentiles.p99" in row


def test_an_analysis_has_the_columns_of_new_statistics_and_survives_broken_ones(registries):
    @tensor_statistic("broken")
    @update_statistic("broken too")
    def broken(_):
        raise ZeroDivisionError("no luck")

    @tensor_statistic("mine")
    def largest(entries):
        return {"linf": max(float(tile.abs().max()) for tile in entries.tiles())}

    table = analyze_lora(lora("blocks.0.attn.q") | lora("blocks.1.attn.q"))
    for tensor in ("A", "B", "dW"):
        assert list(table[f"{tensor}.mine.linf"]) == list(table[f"{tensor}.norms.linf"])
        assert set(table[f"{tensor}.broken.error"]) == {"ZeroDivisionError: no luck"}
    assert set(table["dW.broken too.error"]) == {"ZeroDivisionError: no luck"}
    measured = [column for column in notebook_columns() if column != "delta_error"]
    assert table[measured].notna().all(axis=None)


def test_entries_that_are_no_numbers_are_named_and_the_other_layers_measured():
    state = lora("blocks.0.attn.q") | lora("blocks.1.attn.q")
    state["blocks.1.attn.q.lora_B.weight"][0, 0] = float("nan")
    table = analyze_lora(state)
    assert "NaN" in table["not_measured"][1] and "NaN" in table["B.basic.error"][1]
    assert table["not_measured"][0] == "" and table["dW.energy_share"][0] == 1


def test_running_out_of_memory_is_not_a_failed_statistic(registries):
    @tensor_statistic("greedy")
    def greedy(entries):
        raise torch.cuda.OutOfMemoryError("no room")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        columns_of(registries.TENSOR_STATISTICS, Entries.of_tensor(randn((4, 4))), "A")
