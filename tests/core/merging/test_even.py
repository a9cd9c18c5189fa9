"""Even strength: parts of the same size, in a sum as large as the plain one."""

from math import sqrt

import pytest
import torch

from core import Blend, Even, SettingError, blend
from core.merging.even import multipliers
from tests.helpers import dense, error, lora, randn

WEIGHTS = (1.0, -0.5, 2.0)
PARTS = [randn((40, 30), seed).double() * 10.0**seed for seed in range(3)]
GRAM = torch.stack([torch.stack([(a * b).sum() for b in PARTS]) for a in PARTS])


def sizes(factors) -> list[float]:
    pairs = zip(factors, WEIGHTS, PARTS, strict=True)
    return [float((factor * weight * part).norm()) for factor, weight, part in pairs]


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_sum_stays_as_large_and_the_ratios_shrink(strength):
    factors = multipliers(GRAM, WEIGHTS, strength)
    parts = zip(WEIGHTS, factors, PARTS, strict=True)
    evened = sum(weight * factor * part for weight, factor, part in parts)
    plain = sum(weight * part for weight, part in zip(WEIGHTS, PARTS, strict=True))
    assert float(evened.norm()) == pytest.approx(float(plain.norm()), rel=1e-9)
    before, after = sizes([1.0] * 3), sizes(factors)
    for one in (1, 2):
        ratio = (before[one] / before[0]) ** (1 - strength)
        assert after[one] / after[0] == pytest.approx(ratio, rel=1e-9)


def test_what_is_zero_or_alone_keeps_its_weight():
    alone = torch.tensor([[4.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    assert multipliers(alone, (1.0, 1.0), 1.0) == [1.0, 1.0]
    with_zero = torch.diag(torch.tensor([1.0, 0.0, 16.0], dtype=torch.float64))
    first, zero, third = multipliers(with_zero, (1.0, 1.0, 1.0), 1.0)
    assert first == pytest.approx(4 * third) and first == pytest.approx(sqrt(17 / 2))
    assert zero == pytest.approx(first / 2)  # 1 times the common factor: it stays zero


@pytest.mark.parametrize("whole_file", [False, True])
def test_a_blend_evens_each_layer_or_each_file(whole_file):
    files = [lora("x", seed=1) | lora("y", seed=2), lora("x", seed=3) | lora("y", seed=4)]
    files[1]["x.lora_B.weight"] *= 100
    one, two = map(dense, files)
    balance = Even(whole_file=whole_file)
    result = dense(blend(*files, Blend(rank="full", balance=balance)).lora)
    groups = [("x", "y")] if whole_file else [("x",), ("y",)]
    for group in groups:
        a, b = (torch.cat([file[name].flatten() for name in group]) for file in (one, two))
        first, second = multipliers(torch.stack([a, b]) @ torch.stack([a, b]).T, (1.0, 1.0), 1.0)
        exact = first * a + second * b
        assert error(torch.cat([result[name].flatten() for name in group]), exact) < 1e-5


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_0_to_1_is_refused(strength):
    with pytest.raises(SettingError, match="outside 0 to 1"):
        Even(strength=strength)


def test_it_names_itself():
    assert str(Even()) == "even(strength=1)"
    assert str(Even(whole_file=True, strength=0.5)) == "even-file(strength=0.5)"
