"""Rank rules: each keeps the smallest rank that meets its definition, never less, never more."""

from itertools import product

import pytest
import torch

from core import LoraError, RankRule
from core.algebra.rank_rules import Spectrum, budget_ranks
from tests.helpers import randn

SPECTRA = {
    "falling": [8.0, 4.0, 2.0, 1.0, 0.5],
    "flat": [3.0, 3.0, 3.0, 3.0],
    "steep": [1e3, 1.0, 1e-3, 1e-6],
    "one": [2.0],
    "random": sorted(randn((40,), "spectrum").abs().tolist(), reverse=True),
}


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def smallest(values, enough) -> int:
    """The definition, word by word: the least rank for which `enough` holds."""
    return next(k for k in range(1, len(values) + 1) if enough(k))


DEFINITIONS = {
    "energy": lambda v, x: smallest(
        v, lambda k: sum(s * s for s in v[:k]) >= x * sum(s * s for s in v) - 1e-12
    ),
    "sv_cumulative": lambda v, x: smallest(v, lambda k: sum(v[:k]) >= x * sum(v) - 1e-12),
    "sv_fro": lambda v, x: smallest(
        v, lambda k: sum(s * s for s in v[:k]) >= x * x * sum(s * s for s in v) - 1e-12
    ),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_share_keeps_the_smallest_rank_that_reaches_it(name, share, spectrum):
    values = SPECTRA[spectrum]
    rank = RankRule(name, share).rank(tensor(values))
    assert rank == DEFINITIONS[name](values, share)


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_a_share_of_one_keeps_everything(name, spectrum):
    # The classic off-by-one: the last singular value is never kept.
    values = SPECTRA[spectrum]
    assert RankRule(name, 1.0).rank(tensor(values)) == len(values)


@pytest.mark.parametrize(
    "name, value, values, rank",
    [
        ("energy", 0.8, [2, 1, 0], 1),  # exactly at the boundary: 4 of 5
        ("energy", 0.81, [2, 1, 0], 2),
        ("sv_cumulative", 0.75, [3, 1], 1),
        ("sv_cumulative", 0.76, [3, 1], 2),
        ("sv_fro", 0.8, [4, 3], 1),  # 4 of 5
        ("sv_fro", 0.81, [4, 3], 2),
        ("sv_ratio", 4, [8, 4, 2, 1], 3),  # 2 = 8 / 4 still counts
        ("sv_ratio", 3.9, [8, 4, 2, 1], 2),
        ("sv_ratio", 1, [8, 8, 2], 2),
        ("sv_ratio", 1e9, [8, 4, 2, 1], 4),
        ("rank", 1, [8, 4, 2, 1], 1),
        ("rank", 3, [8, 4, 2, 1], 3),
        ("rank", 9, [8, 4, 2, 1], 4),
        ("knee", 0, [10, 9, 8.5, 1, 0.9, 0.8, 0.7], 4),
        ("knee", 0, [100, 1, 0.9, 0.8, 0.7], 2),
        ("knee", 0, [3, 3, 3], 3),  # no knee: nothing is cut
        ("knee", 0, [10, 10, 1, 0.9, 0.8], 3),
        ("knee", 0, [10, 6, 3, 2, 1, 0], 3),
        ("knee", 0, [4, 2, 1, 0], 2),
        ("knee", 0, [3, 1, 1], 2),
        ("knee", 0, [3, 3, 3, 1], 4),  # falls at the end only
        ("knee", 0, [4, 3, 2, 1], 4),  # a straight line
        ("knee", 0, [3, 1], 2),
    ],
)
def test_ranks_by_hand(name, value, values, rank):
    assert RankRule(name, value).rank(tensor(values)) == rank


@pytest.mark.parametrize(
    "rule, rank",
    [
        (RankRule("rank", 2, min_rank=3), 3),
        (RankRule("rank", 4, max_rank=3), 3),
        (RankRule("energy", 1.0, max_rank=2), 2),
        (RankRule("sv_ratio", 1, min_rank=4), 4),
        (RankRule("sv_ratio", 1, min_rank=100), 5),
        (RankRule("rank", 9, max_rank=7), 5),
        (RankRule("knee", min_rank=5, max_rank=5), 5),
    ],
)
def test_minimum_and_maximum_hold_for_every_rule(rule, rank):
    assert rule.rank(tensor(SPECTRA["falling"])) == rank


def test_a_layer_without_singular_values_has_no_rank():
    for name, value in (("rank", 4), ("energy", 0.9), ("sv_ratio", 2), ("knee", 0)):
        assert RankRule(name, value).rank(tensor([])) == 0


NAN = float("nan")


@pytest.mark.parametrize(
    "settings",
    [
        ("rank", 0),
        ("rank", -1),
        ("rank", 1.5),
        ("rank", NAN),
        ("rank", float("inf")),
        ("energy", 0),
        ("energy", 1.01),
        ("energy", NAN),
        ("sv_cumulative", -0.1),
        ("sv_fro", 2),
        ("sv_ratio", 0.5),
        ("sv_ratio", NAN),
        ("megabytes", 0),
        ("megabytes", NAN),
        ("parameters", -5),
        ("unheard_of", 1),
        ("rank", 4, 0),
        ("rank", 4, 5, 3),
    ],
    ids=str,
)
def test_numbers_that_make_no_sense_are_refused(settings):
    with pytest.raises(LoraError, match=r"rank"):
        RankRule(*settings)


def budget_rule(**limits) -> RankRule:
    return RankRule("parameters", 1, **limits)


def lost(spectra, ranks) -> float:
    pairs = zip(spectra, ranks, strict=True)
    return sum(sum(v * v for v in s.values[rank:]) for s, rank in pairs)


def cost(spectra, ranks) -> int:
    return sum(s.cost * rank for s, rank in zip(spectra, ranks, strict=True))


def layers(*costs) -> list[Spectrum]:
    made = [
        sorted(randn((4,), "layer", i).abs().tolist(), reverse=True) for i, _ in enumerate(costs)
    ]
    return [Spectrum(values, cost) for values, cost in zip(made, costs, strict=True)]


@pytest.mark.parametrize("budget", [30, 35, 50, 77, 100])
def test_with_equal_costs_the_budget_is_the_optimum(budget):
    # Brute force over all ways to spend it.
    spectra = layers(10, 10, 10)
    ranks = budget_ranks(spectra, budget, budget_rule())
    affordable = [r for r in product(range(1, 5), repeat=3) if cost(spectra, r) <= budget]
    assert cost(spectra, ranks) <= budget
    assert lost(spectra, ranks) == pytest.approx(min(lost(spectra, r) for r in affordable))


@pytest.mark.parametrize("budget", range(80, 310, 20))
def test_with_unequal_costs_it_takes_what_gains_most_per_cost(budget):
    spectra = layers(7, 30, 40)
    ranks = budget_ranks(spectra, budget, budget_rule())
    assert cost(spectra, ranks) <= budget
    # What is left over buys nothing more.
    assert all(
        rank == 4 or s.cost > budget - cost(spectra, ranks)
        for s, rank in zip(spectra, ranks, strict=True)
    )


def test_the_budget_spends_on_the_largest_values_for_their_cost():
    spectra = [Spectrum([9.0, 5.0, 1.0], 10), Spectrum([6.0, 4.0, 3.0], 10)]
    assert budget_ranks(spectra, 50, budget_rule()) == [2, 3]
    # Twice the cost halves the gain: 25/20 < 16/10.
    spectra = [Spectrum([9.0, 5.0, 1.0], 20), Spectrum([6.0, 4.0, 3.0], 10)]
    assert budget_ranks(spectra, 40, budget_rule()) == [1, 2]
    # It is the energy that counts: 36/20 > 16/10, though 6/20 < 4/10.
    spectra = [Spectrum([9.0, 6.0], 20), Spectrum([5.0, 4.0], 10)]
    assert budget_ranks(spectra, 50, budget_rule()) == [2, 1]
    # What no longer fits leaves room for cheaper ones.
    spectra = [Spectrum([9.0, 8.0], 100), Spectrum([1.0, 0.1], 1)]
    assert budget_ranks(spectra, 150, budget_rule()) == [1, 2]


def test_the_budget_keeps_to_minimum_and_maximum():
    spectra = layers(10, 10)
    assert budget_ranks(spectra, 1000, budget_rule(max_rank=3)) == [3, 3]
    assert min(budget_ranks(spectra, 60, budget_rule(min_rank=2))) >= 2
    with pytest.raises(LoraError, match="below what rank 3 in every layer needs"):
        budget_ranks(spectra, 59, budget_rule(min_rank=3))


def test_a_budget_for_everything_keeps_everything():
    assert budget_ranks(layers(3, 5, 8), 16 * 4, budget_rule()) == [4, 4, 4]


def test_a_layer_without_singular_values_costs_nothing_of_the_budget():
    assert budget_ranks([Spectrum([], 5), Spectrum([2.0], 1)], 1, budget_rule()) == [0, 1]


def test_a_budget_goes_where_it_removes_most_error_for_its_price():
    cheap, dear = Spectrum([6, 3], 1), Spectrum([7, 5], 3)
    # Minimum ranks cost 4. Of the 3 left, 3^2 / 1 removes more a unit than 5^2 / 3.
    assert budget_ranks([cheap, dear], 7, RankRule("parameters", 7)) == [2, 1]
    assert budget_ranks([cheap, dear], 8, RankRule("parameters", 8)) == [2, 2]


def test_a_budget_below_the_minimum_ranks_names_the_least():
    spectra = [Spectrum([3, 2], 4), Spectrum([1], 6)]
    with pytest.raises(LoraError, match=r"budget of 9 is below .* \(10\)"):
        budget_ranks(spectra, 9, RankRule("parameters", 9))
    assert budget_ranks(spectra, 10, RankRule("parameters", 10)) == [1, 1]
