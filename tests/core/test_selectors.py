"""The selector language, on the names of a Flux file."""

import pytest

from core import LoraError
from core.selectors import Selector

NAMES = [
    *(
        f"double_blocks.{i}.{part}"
        for i in (0, 1, 9, 10)
        for part in ("img_attn.qkv", "img_mod.lin")
    ),
    *(f"single_blocks.{i}.linear1" for i in (0, 1, 10)),
    "single_blocks.0.linear1.bias",
    "final_layer.linear",
]


def selected(text) -> set[str]:
    return Selector.parse(text).select(NAMES)


def some(*words) -> set[str]:
    return {name for name in NAMES if any(name.startswith(word) for word in words)}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", some("")),
        (None, some("")),
        ("*", some("")),
        ("double_blocks", some("double_blocks.")),
        ("double_blocks.*", some("double_blocks.")),
        ("double_blocks.1", some("double_blocks.1.")),
        ("double_blocks.1*", some("double_blocks.1.", "double_blocks.10.")),
        ("double_blocks.0-9", some("double_blocks.0.", "double_blocks.1.", "double_blocks.9.")),
        ("double_blocks.9-10", some("double_blocks.9.", "double_blocks.10.")),
        ("double_blocks.5-9", some("double_blocks.9.")),
        ("*.linear1", some("single_blocks.0", "single_blocks.1.", "single_blocks.10.")),
        ("single_blocks.0.linear1", some("single_blocks.0.")),
        ("single_blocks.0.linear1.bias", {"single_blocks.0.linear1.bias"}),
        ("final_layer, single_blocks.1", some("final_layer", "single_blocks.1.")),
        ("final_layer\nsingle_blocks.1\n", some("final_layer", "single_blocks.1.")),
        (" final_layer ,, ", some("final_layer")),
        ("-*mod*", {name for name in NAMES if "mod" not in name}),
        ("double_blocks, -*mod*", {n for n in NAMES if "double" in n and "mod" not in n}),
        ("-*mod*, double_blocks", {n for n in NAMES if "double" in n and "mod" not in n}),
        ("-double_blocks, -single_blocks", {"final_layer.linear"}),
        ("- final_layer", some("double", "single")),
        ("*blocks.0", some("double_blocks.0.", "single_blocks.0.")),
        ("*blocks.0-1.*1", some("single_blocks.0.linear1", "single_blocks.1.")),
        ("double_blocks.00-01", some("double_blocks.0.", "double_blocks.1.")),
    ],
)
def test_what_a_selector_means(text, expected):
    assert expected and selected(text) == expected


@pytest.mark.parametrize(
    "text, pattern",
    [
        ("double_block", "double_block"),  # the beginning of a segment is not a name
        ("double_blocks.2-8", "double_blocks.2-8"),
        ("final_layer, nothing_here", "nothing_here"),
        ("-nothing_here", "nothing_here"),
        ("linear1", "linear1"),
        ("DOUBLE_BLOCKS", "DOUBLE_BLOCKS"),
        ("double_blocks.?", "double_blocks.?"),  # only * is special
        ("double_blocks.[0-9]", "[0-9]"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused_by_name(text, pattern):
    with pytest.raises(LoraError, match="matches no layer") as caught:
        selected(text)
    assert pattern in str(caught.value)


@pytest.mark.parametrize("text", ["double_blocks.9-0", "double_blocks.0-99999999999", "-", "a, -"])
def test_a_selector_that_cannot_be_read_is_refused(text):
    with pytest.raises(LoraError, match="selector"):
        selected(text)


def test_names_are_taken_literally_apart_from_the_star():
    assert Selector.parse("a.(b)+").select(["a.(b)+", "a.b"]) == {"a.(b)+"}
