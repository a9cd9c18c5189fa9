"""The selector language, on the names of a Flux file."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core import LoraError
from core.naming.layers import Layers
from core.naming.selectors import Selector, compile_pattern, compressed
from tests.trust.readers import limited

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
    return Layers(NAMES).selected(text)


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
        ("linear1", "linear1"),
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
    assert Layers(["a.(b)+", "a.b"]).selected("a.(b)+") == {"a.(b)+"}


def by_trying_everything(pattern: str) -> re.Pattern[str]:
    """What a pattern means, said as directly as a regular expression can."""
    segments = []
    for segment in pattern.split("."):
        if bounds := re.fullmatch(r"(\d+)-(\d+)", segment):
            numbers = range(int(bounds[1]), int(bounds[2]) + 1)
            segments.append("(" + "|".join(map(str, numbers)) + ")")
        else:
            segments.append(".*".join(map(re.escape, segment.split("*"))))
    return re.compile(r"\.".join(segments) + r"(\..*)?", re.DOTALL)


NAME = st.text("ab.1\n", max_size=12)
PIECE = st.sampled_from(["*", "**", "a", "b", "ab", ".", "1", ".0-12.", ".1-2", "11", "\n"])


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(st.lists(PIECE, max_size=8).map("".join), NAME)
def test_patterns_mean_what_trying_everything_says(pattern, name):
    assume(not re.search(r"\d{3}", pattern))  # Ranges as pieces put together can be too long.
    wanted = by_trying_everything(pattern).fullmatch(name)
    assert bool(compile_pattern(pattern).fullmatch(name)) == bool(wanted)


@pytest.mark.parametrize(
    "pattern", ["*a" * 60 + "*b", "*" * 500 + "b", "*a*.*a*" * 30 + "b", "*.0-9" * 40]
)
def test_no_pattern_takes_forever(pattern):
    names = ["a" * 3000, "a." * 1500, "1." * 1500, ".".join("aaaaaaaaa1" * 300)]
    with limited(60), pytest.raises(LoraError, match="matches no layer"):
        Layers(names).selected(pattern)


@pytest.mark.slow
@given(
    st.lists(st.sampled_from(["a", "b.0", "b", "a.x", "a.01"]), max_size=3),
    st.sets(st.integers(0, 12)),
)
def test_compressed_names_mean_the_same_names(stems, numbers):
    names = list(dict.fromkeys(f"{stem}.{n}" for stem in stems for n in sorted(numbers))) + stems
    patterns = compressed(names)
    wanted = {f"{stem}.{n}" for stem in ["a", "b.0", "b", "a.x", "a.01"] for n in range(14)}
    found = {name for name in wanted if any(compile_pattern(p).fullmatch(name) for p in patterns)}
    exact = {name for name in wanted if any(name == n or name.startswith(f"{n}.") for n in names)}
    assert found == exact and len(patterns) <= len(names)


def test_neighbouring_numbers_become_a_range():
    assert compressed(["a.1", "a.2", "a.3", "b.4", "b.6", "mid", "7", "8"]) == [
        "a.1-3", "b.4", "b.6", "mid", "7", "8"
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a.9-0", "a, -b.5-1", "a.0-99999", "-"])
def test_what_no_file_can_make_sense_of_is_refused_without_one(text):
    with pytest.raises(LoraError):
        Selector.parse(text)
