"""Statistics are exact: the same numbers as numpy and torch give on the dense matrix."""

import pytest
import torch

from core import Dense, LowRank, analyze_lora, tensor_statistic, update_statistic
from core.insight import statistics
from core.insight.analysis import notebook_columns
from core.insight.elements import Entries
from core.insight.statistics import (
    TENSOR_STATISTICS,
    UPDATE_STATISTICS,
    Measured,
    columns_of,
    effective_rank,
    stable_rank,
)
from tests.core.insight.entries import low_rank
from tests.helpers import lora, randn


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
