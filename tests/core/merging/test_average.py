"""Averages of checkpoints, held against the loops that moving averages are elsewhere."""

import pytest

from core import SettingError
from core.merging.average import average_weights


def looped(values, decays):
    """What is left of the mean, and what arrives: as trainers and musubi-tuner write it."""
    mean = values[0]
    for value, decay in zip(values[1:], decays, strict=True):
        mean = decay * mean + (1 - decay) * value
    return mean


VALUES = [3.0, -1.0, 4.0, 1.5, -5.0]


def averaged(**profile):
    weights = average_weights(len(VALUES), **profile)
    assert sum(weights) == pytest.approx(1.0) and min(weights) >= 0
    return sum(w * value for w, value in zip(weights, VALUES, strict=True))


def test_profiles_are_their_loops():
    assert averaged() == pytest.approx(sum(VALUES) / 5)
    assert averaged(decay=0.9) == pytest.approx(looped(VALUES, [0.9] * 4))
    linear = [0.8, 0.85, 0.9, 0.95]
    assert averaged(decay=[0.8, 0.95]) == pytest.approx(looped(VALUES, linear))
    assert averaged(decay=1) == VALUES[0] and averaged(decay=0.0) == VALUES[-1]


@pytest.mark.slow
@pytest.mark.parametrize("sigma_rel", [0.05, 0.2, 0.28])
def test_sigma_rel_is_the_width_of_the_power_function(sigma_rel):
    """Of many files, whose weights are then the density t^gamma; with musubi-tuner's steps."""
    count = 20_000
    weights = average_weights(count, sigma_rel=sigma_rel)
    places = [(index - 0.5) / (count - 1) for index in range(count)]
    mean = sum(w * t for w, t in zip(weights, places, strict=True))
    variance = sum(w * (t - mean) ** 2 for w, t in zip(weights, places, strict=True))
    assert variance**0.5 == pytest.approx(sigma_rel, rel=1e-3)
    gamma = (2 * mean - 1) / (1 - mean)  # The mean of t^gamma is (gamma + 1) / (gamma + 2).
    decays = [(1 - 1 / t) ** (gamma + 1) for t in range(1, 5)]
    assert averaged(sigma_rel=sigma_rel) == pytest.approx(looped(VALUES, decays), rel=1e-3)


def test_one_file_is_its_own_average():
    for profile in ({}, {"decay": 0.5}, {"decay": (0.5, 0.9)}, {"sigma_rel": 0.2}):
        assert average_weights(1, **profile) == [1.0]


@pytest.mark.parametrize("arguments", [
    {"count": 0}, {"count": 2, "decay": 1.5}, {"count": 2, "decay": -0.1},
    {"count": 2, "decay": [0.1, 0.2, 0.3]}, {"count": 2, "decay": []},
    {"count": 2, "decay": float("nan")}, {"count": 2, "sigma_rel": 0.0},
    {"count": 2, "sigma_rel": 0.3}, {"count": 2, "sigma_rel": float("nan")},
    {"count": 2, "decay": 0.9, "sigma_rel": 0.2},
])  # fmt: skip
def test_what_is_out_of_range_is_refused(arguments):
    with pytest.raises(SettingError):
        average_weights(**arguments)
