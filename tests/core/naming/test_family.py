"""How tables are read, and what each of them knows.

Also of families/*.py, unet.py, text_encoders.py, catalogue.py: the same tests hold every table.
Whether a table is right, ComfyUI says: tests/core/test_spellings.py, tests/comfyui/test_formats.py.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.key_maps import load
from core.naming.catalogue import FAMILIES
from core.naming.family import Family, expand_braces, fill, flatten, part_name, swapped
from core.naming.text_encoders import TEXT_ENCODERS

BY_NAME = {family.name: family for family in FAMILIES}
KEY_MAPS = {
    "flux": "Flux", "qwen-image": "Qwen-Image", "sd1.5": "SD1.5", "sdxl": "SDXL",
    "wan2.1-14b": "Wan", "z-image": "Z-Image",
}  # fmt: skip


# -- the language of the tables -------------------------------------------------------------------

TOY = Family(
    name="Toy",
    table="""
    a.#.qkv = x.#.{to_q,to_k,to_v} | y.#.qkv
    a.#.qkv[0:2] = x.#.qk
    a.#.{one,two}.# = b.#.{uno,due}.#
    last = ~norm.out
    block.#.mod = ~~block.#.norm
    same
    *alone
    """,
)


@pytest.mark.parametrize(
    "name, native, first, last, order",
    [
        ("a_3_qkv", "a.3.qkv", 0, 3, 0),
        ("x_3_to_q", "a.3.qkv", 0, 1, 1),
        ("x_3_to_v", "a.3.qkv", 2, 3, 1),
        ("y_3_qkv", "a.3.qkv", 0, 3, 2),
        ("x_3_qk", "a.3.qkv", 0, 2, 0),
        ("b_1_due_22", "a.1.two.22", 0, 1, 1),
        ("norm_out", "last", 0, 1, 1),
        ("same", "same", 0, 1, 0),
    ],
)
def test_a_line_says_what_names_mean(name, native, first, last, order):
    match, numbers = TOY.find(name)
    assert fill(match.row.native, numbers) == native
    assert (match.first, match.last, match.order) == (first, last, order)


@pytest.mark.parametrize("name", ["a_qkv", "x_3_to_o", "a_3_qkv_extra", "sames", "", "b_1_due"])
def test_other_names_are_not_known(name):
    assert TOY.find(name) is None


def test_rows_know_their_parts_and_marks():
    assert TOY.rows["a.#.qkv"].parts == ("q", "k", "v")
    assert TOY.rows["a.#.qkv"].diffusers == ("x.#.to_q", "x.#.to_k", "x.#.to_v")
    assert TOY.rows["same"][:5] == ("same", (), "", ("",), False)
    assert TOY.rows["alone"].lone
    assert TOY.rows["last"].mark == "~" and TOY.rows["block.#.mod"].mark == "~~"


def test_halves_are_swapped_always_or_where_there_are_only_two():
    assert swapped("~", (18, 3)) and swapped("~", ()) and not swapped("", (6, 3))
    assert swapped("~~", (6, 3)) and not swapped("~~", (18, 3)) and not swapped("~~", ())


def test_part_names_come_from_diffusers():
    names = ["attn.to_q", "attn.add_k_proj", "attn2.to_v", "proj_mlp", "attn.something"]
    assert [part_name(name) for name in names] == ["q", "k", "v", "mlp", "attn.something"]


@pytest.mark.slow
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), min_size=1, max_size=3))
def test_braces_expand_to_every_combination_in_order(groups):
    text = ".".join("{" + ",".join(group) + "}" for group in groups)
    expanded = list(expand_braces(text))
    assert len(expanded) == len(groups[0]) * (len(groups[1]) if len(groups) > 1 else 1) * (
        len(groups[2]) if len(groups) > 2 else 1
    )
    assert expanded[0] == ".".join(group[0] for group in groups)


# -- the tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*FAMILIES, *TEXT_ENCODERS.values()], ids=lambda f: f.name)
def test_a_name_means_one_thing(family):
    """Two lines must not claim a name, and a name of a line must be found as that line's."""
    meanings = {}
    for template, match in family.names:
        flat = flatten(fill(template, [str(n) for n in range(template.count("#"))]))
        found, _ = family.find(flat)
        assert (found.row.native, found.first, found.last) == (
            match.row.native,
            match.first,
            match.last,
        ), template
        meaning = (match.row.native, match.first, match.last)
        assert meanings.setdefault(flat, meaning) == meaning


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_blocks_and_ratios_speak_of_names_in_the_table(family):
    containers = {native.partition(".#")[0] for native in family.rows if ".#" in native}
    flat_containers = {name for native in family.rows for name in [native.split(".")[0]]}
    assert set(family.blocks) <= containers | flat_containers
    assert set(family.rows_per_column) <= set(family.rows)


@pytest.mark.parametrize("key_map, name", KEY_MAPS.items())
def test_rows_per_column_are_those_of_the_models(key_map, name):
    family = BY_NAME[name]
    for target in load(key_map):
        match = family.find(flatten(target.weight))
        ratio = match and family.rows_per_column.get(match[0].row.native)
        if ratio and not target.slice:
            assert target.shape[0] == ratio * target.shape[1]


def test_halves_are_swapped_whether_comfyui_reads_the_name_or_not():
    table = """
a = ~x
b = ~?y
c = ?~z
d = ~~w
e = ?v
"""
    family = Family(name="halves", table=table)
    found = {
        name: swapped(match.mark, (2, 1)) for name in "xyzwv" for match, _ in [family.find(name)]
    }
    assert found == dict.fromkeys("xyzw", True) | {"v": False}
    assert not swapped(family.find("w")[0].mark, (6, 1))
