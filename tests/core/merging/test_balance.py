"""The dynamic weights: formulas by hand, and what all of them share."""

import itertools
from itertools import product
from math import exp, isfinite

import pytest

from core import (
    LoraError,
    dyn_weights_margin_sigmoid,
    dyn_weights_powerlaw,
    dyn_weights_proportional,
    dyn_weights_softmax,
    softmax_spectral_weight_fn,
)
from core.merging.balance import BALANCES, balance

RESCALED = [
    dyn_weights_proportional,
    dyn_weights_softmax,
    dyn_weights_powerlaw,
    dyn_weights_margin_sigmoid,
]
ALL = [softmax_spectral_weight_fn, *RESCALED]
NORMS = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (1e-3, 5.0), (400.0, 900.0), (0.0, 1.0)]


def ratio(pair) -> float:
    return pair[0] / pair[1]


@pytest.mark.parametrize("s1, s2", NORMS)
@pytest.mark.parametrize("make", RESCALED)
@pytest.mark.parametrize("target", [1.0, 0.25, 3.0])
def test_weighted_norms_add_up_to_the_target(make, target, s1, s2):
    w1, w2 = make(target_total_strength=target)("layer", s1, s2)
    assert w1 * s1 + w2 * s2 == pytest.approx(target)
    assert w1 >= 0 and w2 >= 0


@pytest.mark.parametrize("s1, s2", NORMS)
@pytest.mark.parametrize("make", ALL)
def test_equal_norms_and_swapped_files_are_treated_alike(make, s1, s2):
    rule = make()
    assert rule("layer", s1, s2) == pytest.approx(rule("layer", s2, s1)[::-1])


@pytest.mark.parametrize("make", ALL)
def test_a_file_that_lacks_the_layer_leaves_it_to_the_other(make):
    rule = make()
    assert rule("layer", None, None) == (1.0, 1.0)
    expected = 1.0 if make is softmax_spectral_weight_fn else 1 / 4
    assert rule("layer", 4.0, None) == pytest.approx((expected, 0.0))
    assert rule("layer", None, 4.0) == pytest.approx((0.0, expected))


@pytest.mark.parametrize("make", ALL)
def test_zero_norms_give_finite_weights(make):
    assert make()("layer", 0.0, 0.0) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("make", ALL)
def test_huge_norms_do_not_overflow(make):
    w1, w2 = make()("layer", 1e6, 2e6)
    assert 0 <= w1 < w2 < float("inf") or make is dyn_weights_powerlaw


def test_softmax_by_hand():
    share = exp(3 / 2) / (exp(3 / 2) + exp(1 / 2))
    plain = softmax_spectral_weight_fn(temperature=2.0)("layer", 3.0, 1.0)
    assert plain == pytest.approx((share, 1 - share))
    rescaled = dyn_weights_softmax(temperature=2.0)("layer", 3.0, 1.0)
    strength = share * 3 + (1 - share)
    assert rescaled == pytest.approx((share / strength, (1 - share) / strength))


def test_the_floor_of_a_softmax_is_a_least_share():
    w1, w2 = softmax_spectral_weight_fn(floor=0.1)("layer", 50.0, 0.0)
    assert (w1, w2) == pytest.approx((1 / 1.1, 0.1 / 1.1))


GRID = list(itertools.product([None, 0.0, 1e-6, 0.3, 1.0, 5.0, 40.0], repeat=2))


def notebook(shares, s1, s2, target):
    """The notebook's description: shares of the two, then the weighted norms add up to a target."""
    if s1 is None and s2 is None:
        return 1.0, 1.0
    w1, w2 = (1.0, 0.0) if s2 is None else (0.0, 1.0) if s1 is None else shares(s1, s2)
    whole = w1 + w2
    strength = (w1 * (s1 or 0) + w2 * (s2 or 0)) / whole
    scale = target / strength if strength else 1.0
    return w1 / whole * scale, w2 / whole * scale


def sigmoid(x):
    return 1 / (1 + exp(-x))


@pytest.mark.parametrize("floor", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0])
def test_the_softmax_of_the_notebook_on_a_grid_of_norms(floor, temperature):
    plain = softmax_spectral_weight_fn(temperature, floor)
    rescaled = dyn_weights_softmax(2.0, temperature, floor)
    for s1, s2 in GRID:

        def shares(s1, s2):
            p = sigmoid((s1 - s2) / temperature)
            pair = max(p, floor), max(1 - p, floor)
            return pair[0] / sum(pair), pair[1] / sum(pair)

        assert rescaled("layer", s1, s2) == pytest.approx(notebook(shares, s1, s2, 2.0)), (s1, s2)
        if s1 is None and s2 is None:
            wanted = 1.0, 1.0
        elif s1 is None or s2 is None:  # e ** -infinity, floored and renormalised
            wanted = 1 / (1 + floor), floor / (1 + floor)
            wanted = wanted if s2 is None else wanted[::-1]
        else:
            wanted = shares(s1, s2)
        assert plain("layer", s1, s2) == pytest.approx(wanted), (s1, s2)


@pytest.mark.parametrize("floor", [0.0, 0.02, 0.3, 2.0])
@pytest.mark.parametrize("bias", [0.0, 1.5, -0.5])
def test_the_sigmoid_of_the_notebook_on_a_grid_of_norms(floor, bias):
    rule = dyn_weights_margin_sigmoid(1.5, 2.0, bias, floor)
    for s1, s2 in GRID:

        def shares(s1, s2):
            p = sigmoid((max(s1, floor) - max(s2, floor) + bias) / 2.0)
            return p, 1 - p

        assert rule("layer", s1, s2) == pytest.approx(notebook(shares, s1, s2, 1.5)), (s1, s2)


@pytest.mark.parametrize("floor", [0.02, 0.3])
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_the_powers_of_the_notebook_on_a_grid_of_norms(floor, p):
    power = dyn_weights_powerlaw(1.5, p, floor)
    for s1, s2 in GRID:

        def shares(s1, s2):
            return max(s1, floor) ** p, max(s2, floor) ** p

        wanted = notebook(shares, s1, s2, 1.5)
        assert power("layer", s1, s2) == pytest.approx(wanted), (s1, s2)
        if p == 1:
            proportional = dyn_weights_proportional(1.5, floor)
            assert proportional("layer", s1, s2) == pytest.approx(wanted), (s1, s2)


def test_proportional_by_hand():
    assert ratio(dyn_weights_proportional()("layer", 3.0, 1.5)) == pytest.approx(2)
    # The floor is a least norm.
    assert ratio(dyn_weights_proportional(floor=0.5)("layer", 3.0, 0.1)) == pytest.approx(6)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0])
def test_powerlaw_by_hand(p):
    assert ratio(dyn_weights_powerlaw(p=p)("layer", 8.0, 2.0)) == pytest.approx(4**p)
    floored = dyn_weights_powerlaw(p=p, floor=0.5)("layer", 8.0, 0.0)
    assert ratio(floored) == pytest.approx(16**p)


@pytest.mark.parametrize("bias", [0.0, 1.0, -2.0])
def test_sigmoid_by_hand(bias):
    share = 1 / (1 + exp(-(3.0 - 1.0 + bias) / 2))
    pair = dyn_weights_margin_sigmoid(temperature=2.0, bias=bias)("layer", 3.0, 1.0)
    assert ratio(pair) == pytest.approx(share / (1 - share))


def test_a_positive_bias_favours_the_first():
    pairs = [dyn_weights_margin_sigmoid(bias=b)("layer", 2.0, 2.0) for b in (-1, 0, 1)]
    assert ratio(pairs[0]) < ratio(pairs[1]) == 1 < ratio(pairs[2])


@pytest.mark.parametrize("temperature", [0, -1, float("nan")])
@pytest.mark.parametrize(
    "make", [softmax_spectral_weight_fn, dyn_weights_softmax, dyn_weights_margin_sigmoid]
)
def test_a_temperature_must_be_above_zero(make, temperature):
    with pytest.raises(LoraError, match="temperature"):
        make(temperature=temperature)


def test_all_five_rules_can_be_asked_for_by_name():
    # Four names for five rules: softmax comes plain; the rescaled one has a target.
    assert set(BALANCES.values()) <= set(ALL)


RANGE = (0.0, 1e-320, 1e-300, 1e-30, 1e-6, 1.0, 40.0, 1e10, 1e38, 1e300)


@pytest.mark.parametrize("name", BALANCES)
def test_every_rule_is_finite_on_every_finite_input(name):
    """Over the ranges of the widgets, and beyond."""
    floors, targets = (None, 0.0, 0.02, 1.0, 1000.0), (None, 1e-3, 1.0, 100.0)
    temperatures = (None, 1e-3, 1e6) if name in ("softmax", "sigmoid") else (None,)
    powers = (None, -1000.0, -10.0, -1.0, 0.0, 1.0, 10.0, 1000.0) if name == "powerlaw" else (None,)
    norms = list(product((None, *RANGE), repeat=2))
    for floor, target, temperature, power in product(floors, targets, temperatures, powers):
        settings = {"floor": floor, "target_strength": target}
        settings |= {"temperature": temperature} if temperature else {}
        settings |= {"power": power} if power is not None else {}
        rule = balance(name, **settings)
        for one, other in norms:
            assert all(map(isfinite, rule("layer", one, other))), (settings, one, other)


def test_a_negative_power_leaves_a_layer_to_the_weaker_file():
    assert dyn_weights_powerlaw(p=-1, floor=0.0)("layer", 0.0, 4.0) == (1.0, 0.0)
    assert ratio(dyn_weights_powerlaw(p=-1)("layer", 8.0, 2.0)) == pytest.approx(1 / 4)
    strong, weak = dyn_weights_powerlaw(p=1000)("layer", 8.0, 2.0)
    assert (strong, weak) == pytest.approx((1 / 8, 0.0))
