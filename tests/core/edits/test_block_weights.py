"""Block weights: lines of text or a function, multiplied onto the weights of a blend."""

import pytest

from core import Blend, LoraError, blend
from tests.core.edits.weights import FIRST, NAMES, SECOND, blended, weights_of


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", [1, 2]),
        ("blocks.1: 0.5, 3", [0.5, 6]),
        ("blocks.1: 0.5", [0.5, 1]),
        ("blocks.1: -1, 1", [-1, 2]),
        ("*: 3\nblocks.1: 0.5, 1", [0.5, 2]),
        ("blocks.1: 0.5, 1\n*: 3", [3, 6]),  # the last line that fits counts
        ("blocks.0: 7; blocks.0-5.attn: 1, 0.25;", [1, 0.5]),
        ("\n  blocks.1 :  0.5 , 3 \n\n", [0.5, 6]),
    ],
)
def test_block_weights_are_multiplied_onto_the_weights(text, expected):
    found = weights_of(blended(weights=(1.0, 2.0), block_weights=text))
    assert found["blocks.1.attn"] == expected
    if "*" not in text:
        assert found["blocks.10.attn"] == [1, 2]


def test_a_block_weight_of_zero_leaves_the_module_to_the_other_file():
    found = weights_of(blended(block_weights="blocks.0: 0, 1; *.mlp: 0"))
    assert found == {NAMES[0]: [0, 1], NAMES[2]: [1, 1], NAMES[3]: [1, 1]}


@pytest.mark.parametrize(
    "text, message",
    [
        ("blocks.0", "must read"),
        ("blocks.0:", "must read"),
        ("blocks.0: one", "must read"),
        ("blocks.0: 1, 2, 3", "must read"),
        ("0.5, 0.5", "must read"),
        ("blocks.5: 1", "'blocks.5' matches no layer"),
        ("blocks.0: nan", "finite"),
        ("blocks.0: 1, inf", "finite"),
    ],
)
def test_block_weights_that_cannot_be_read_are_refused(text, message):
    with pytest.raises(LoraError, match=message):
        blended(block_weights=text)


def test_a_rule_of_ones_own_sees_every_module_and_its_names():
    seen = {}

    def rule(name, raws):
        seen[name] = list(raws)
        return 2.0, 0.5

    second = {"diffusion_model." + key: tensor for key, tensor in SECOND.items()}
    found = weights_of(blend(FIRST, second, Blend(rank="full"), block_rule=rule))
    assert set(found.values().__iter__().__next__()) == {2.0, 0.5}
    assert seen == {name: [name, "diffusion_model." + name] for name in NAMES}
