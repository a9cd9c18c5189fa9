"""Files against each other: figures against dense float64 ones, and a sentence for each case.

Also of comparison_words.py, meetings.py, neighbours.py: they are a comparison in parts.
"""

import math

import pytest
import torch

from core import (
    Blend,
    MismatchError,
    Output,
    RankRule,
    SettingError,
    blend,
    block_weights,
    compare,
    convert,
    neighbours,
    resize,
    select,
)
from tests.helpers import KOHYA, flux_dense, flux_file, lora, lora_file, randn, save

BLOCKS = [f"double_blocks.{i}.img_attn.proj" for i in range(2)]
BLOCKS += [f"single_blocks.{i}.linear2" for i in range(2)]
SHAPE = (64, 48)


def made(seed, blocks=BLOCKS, **options):
    names = ["lora_unet_" + name.replace(".", "_") for name in blocks]
    return lora_file(names, KOHYA, shape=SHAPE, seed=seed, alpha=4, **options)


def mixed(*parts, weights=None, layers=""):
    settings = Blend(weights=weights or [1.0] * len(parts), rank="full", layers=layers)
    return dict(blend(list(parts), settings=settings, output=Output(dtype="fp32")).lora)


def part(file, layers):
    return select(file, layers)[0].lora


A, B = made("a"), made("b")


@pytest.mark.parametrize("spellings", [("kohya", "kohya"), ("kohya", "diffusers")])
def test_figures_of_files_are_those_of_their_dense_updates(spellings):
    one, other = (flux_file(spelling, seed=i) for i, spelling in enumerate(spellings))
    found = compare([one, other], full=True)
    first, second = flux_dense(one), flux_dense(other)
    whole = [torch.cat([value.flatten() for value in file.values()]) for file in (first, second)]
    row = found.total.iloc[0]
    cosine = float(whole[0] @ whole[1] / whole[0].norm() / whole[1].norm())
    assert row["cosine"] == pytest.approx(cosine, abs=1e-6)
    assert row["first_norm"] == pytest.approx(float(whole[0].norm()), rel=1e-6)
    assert row["norm_ratio"] == pytest.approx(float(whole[1].norm() / whole[0].norm()), rel=1e-6)
    signs = float((whole[0] * whole[1] < 0).double().mean())
    assert row["sign_conflict"] == pytest.approx(signs, abs=1e-3)
    assert row["modules"] == len(found.modules) == len(first)
    for block, part in found.blocks.set_index("block").iterrows():
        start = block if isinstance(block, str) else "final"
        names = [name for name in first if name.startswith(start)]
        a, b = (torch.cat([file[n].flatten() for n in names]) for file in (first, second))
        assert part["cosine"] == pytest.approx(float(a @ b / a.norm() / b.norm()), abs=1e-6)


def test_whole_matrices_and_vectors_count_by_their_inner_products():
    name = "lora_unet_double_blocks_0_img_attn_proj"
    difference = {name + ".diff": randn(SHAPE, "d"), name + ".diff_b": randn((64,), "v")}
    both = lora(name, SHAPE, pair=KOHYA) | {name + ".diff_b": randn((64,), "w")}
    found = compare([difference, both], full=True)
    rows = found.modules.set_index("module")
    matrix, vector = rows.iloc[0], rows.loc["double_blocks.0.img_attn.proj.bias"]
    dense = both[name + ".lora_up.weight"].double() @ both[name + ".lora_down.weight"].double()
    a = difference[name + ".diff"].double()
    cosine = float((a * dense).sum() / a.norm() / dense.norm())
    assert matrix["cosine"] == pytest.approx(cosine, abs=1e-6)
    assert math.isnan(matrix["first_in_columns"]) and math.isnan(matrix["row_angle"])
    assert 0.2 < matrix["sign_conflict"] < 0.8
    assert vector["first_in_rows"] == pytest.approx(1)
    assert math.isfinite(found.total.iloc[0]["first_in_columns"])  # of what is known


def test_lokr_and_what_needs_the_base_model():
    name = "lora_unet_double_blocks_0_img_attn_proj"
    kron = {name + ".lokr_w1": randn((8, 6), 1), name + ".lokr_w2": randn((8, 8), 2)}
    found = compare([A, kron | made("a", BLOCKS[1:])])
    row = found.modules.set_index("module").loc[BLOCKS[0]]
    dense = torch.kron(kron[name + ".lokr_w1"], kron[name + ".lokr_w2"]).double()
    assert row["second_norm"] == pytest.approx(float(dense.norm()), rel=1e-6)
    dora = A | {name + ".dora_scale": torch.ones(64, 1)}
    found = compare([dora, B])
    assert list(found.not_measured) == BLOCKS[:1] and len(found.modules) == 3
    assert "1 modules were not measured: DoRA" in found.notes[-1]


def text(*files, **options):
    return compare(files, **options).text


def test_unrelated_files_hardly_touch():
    (line,) = text(A, B)
    assert line.startswith("they hardly touch (cosine ") and "no weight has to change" in line


@pytest.mark.slow
def test_the_same_lora_in_all_its_disguises():
    assert text(A, A) == ["A and B are the same LoRA (cosine 1.0000)"]
    generic = convert(A, output=Output(spelling="generic")).lora
    assert text(A, generic) == ["A and B are the same LoRA (cosine 1.0000)"]
    half = mixed(A, weights=[0.5])
    said = "B is the same LoRA as A at another strength, 0.5 times (cosine 1.0000)"
    assert text(A, half) == [said]
    assert text(A, mixed(A, weights=[-2.0])) == [
        "B is A turned around, at 2 times the strength (cosine -1.0000)"
    ]
    zero = {key: tensor * 0 for key, tensor in A.items()}
    assert text(A, zero) == ["nothing but zeros in B"]


def test_a_file_inside_another():
    inner = part(A, "double_blocks")
    assert text(inner, A) == ["B contains A: the same modules, and 2 more"]
    assert text(A, inner) == ["A contains B: the same modules, and 2 more"]
    (line,) = text(A, mixed(A, B, weights=[0.8, 1.0]))
    assert line.startswith("B contains A at a strength of about 0.")
    assert line.endswith(": all of A lies in what B reads and writes")
    small = resize(A, RankRule("rank", 2)).lora
    assert text(A, small)[0].startswith("A contains B at a strength of about 1")


def test_halves_have_nothing_in_common():
    halves = (part(A, layers) for layers in ("double_blocks", "single_blocks"))
    assert text(*halves) == ["A and B have no module in common: they cannot fight"]


def together(weight, where="single_blocks"):
    """B, with some of A in some of the blocks."""
    return mixed(part(B, f"-{where}"), mixed(A, B, weights=[weight, 1.0], layers=where))


@pytest.mark.parametrize("weight, how", [(1.2, "in the same direction"), (-1.2, "against each")])
def test_where_they_pull_and_what_to_try(weight, how):
    other = together(weight)
    # Rank 8 holds all of A there: let it be another file's, of which a part only is A.
    small = resize(other, RankRule("rank", 5)).lora
    lines = text(A, small)
    assert f"they pull {how}" in lines[0] and "in single_blocks (cosine" in lines[0]
    assert "times the strength there, try" in lines[0]
    assert lines[1] == "they hardly touch in double_blocks"
    effects = compare([A, small], layers="single_blocks").pairs[0].effects
    assert all((effect > 1) == (weight > 0) for effect in effects)
    assert f"{effects[0]:.2g}" in lines[0] and f"{effects[1]:.2g}" in lines[0]


def test_one_block_among_many_is_named():
    names = [f"single_blocks.{i}.linear2" for i in range(40)]
    one, other = made("x", names), made("y", names)
    key = "lora_unet_single_blocks_7_linear2.lora_{}.weight"
    for side in ("up", "down"):
        other[key.format(side)] = other[key.format(side)] * 0.5 + one[key.format(side)]
    lines = text(one, other)
    assert lines[0].startswith("they hardly touch (cosine 0.0")
    assert lines[1].startswith("but they pull in the same direction in single_blocks.7 (cosine 0.")


def test_different_things_in_the_same_directions():
    """Each one's columns and rows are the other's, turned: no overlap of the updates themselves."""
    one = made("x", BLOCKS[:1])
    key = "lora_unet_double_blocks_0_img_attn_proj.lora_{}.weight"
    up, down = (one[key.format(side)].double() for side in ("up", "down"))
    q, p = torch.linalg.qr(up).Q, torch.linalg.qr(down.T).Q
    turn = torch.roll(torch.eye(4, dtype=torch.float64), 1, 0)
    one |= {key.format("up"): q.float(), key.format("down"): p.T.float()}
    other = dict(one) | {key.format("up"): (q @ turn).float()}
    assert text(one, other)[1] == (
        "but in the same directions: 100% of each lies in what the other reads and writes "
        "(by chance 8%)"
    )


def test_strength_and_what_only_one_has():
    lines = text(A, mixed(made("b", BLOCKS[:3]), weights=[4.0]))
    assert "B is 3." in lines[1] or "B is 4." in lines[1] or "times as strong" in lines[1]
    assert lines[2].startswith("A has 1 modules that B has not (")


def test_many_files_say_what_stands_out():
    found = compare([A, B, made("c"), mixed(A, weights=[0.5])])
    assert found.text == [
        "D is the same LoRA as A at another strength, 0.5 times (cosine 1.0000)",
        "closest are A and D (cosine 1.000)",
    ]
    assert found.cosines.loc["A", "D"] == pytest.approx(1)
    assert list(found.cosines) == ["A", "B", "C", "D"] and len(found.total) == 6
    assert text(A, B, made("c"))[0].startswith("no two touch much")


@pytest.mark.parametrize("by", ["file", "block"])
def test_under_suggested_weights_each_file_keeps_its_effect(by):
    other = together(0.7)
    weights = compare([A, other]).suggest([1.0, 0.5], by)
    assert set(weights) == ({"*"} if by == "file" else {"*", *(n[:15] for n in BLOCKS)})
    rules = "\n".join(f"{pattern}: {w[0]!r}, {w[1]!r}" for pattern, w in weights.items())
    settings = Blend(rank="full", block_weights=rules)
    whole = blend([A, other], settings=settings, output=Output(dtype="fp32")).lora
    places = [""] if by == "file" else ["double_blocks.0", "single_blocks.1"]
    for place in places:
        for file, level in ((A, 1.0), (other, 0.5)):
            o = compare([file, whole], layers=place).pairs[0].overlap
            assert o.inner / o.first == pytest.approx(level, rel=1e-4)


def test_equal_files_are_given_half_each():
    weights = compare([A, A]).suggest()
    assert block_weights(weights) == ["*: 0.5, 0.5"]


def test_refusals():
    with pytest.raises(SettingError, match="1 LoRAs to compare"):
        compare([A])
    with pytest.raises(SettingError, match="3 levels for 2 LoRAs"):
        compare([A, B]).suggest([1, 1, 1])
    with pytest.raises(SettingError, match="suggest 'x' is unknown"):
        compare([A, B]).suggest(by="x")
    with pytest.raises(MismatchError, match="they share no module"):
        compare([A, lora("blocks.0.attn")])
    with pytest.raises(SettingError, match="matches no layer"):
        compare([A, B], layers="nowhere")


def test_neighbours_in_a_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    mine = save(A, tmp_path / "mine.safetensors")
    save(A, tmp_path / "deep/copy.safetensors", {"other": "metadata"})
    save(convert(A, output=Output(spelling="generic")).lora, tmp_path / "renamed.safetensors")
    save(mixed(A, weights=[0.5]), tmp_path / "half.safetensors")
    save(B, tmp_path / "other.safetensors")
    save(lora("lora_unet_mid_block_x", pair=KOHYA), tmp_path / "foreign.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    found = neighbours(mine, tmp_path)
    assert [(one.path.replace("\\", "/"), one.relation) for one in found] == [
        ("deep/copy.safetensors", "copy"),
        ("renamed.safetensors", "same in other names"),
        ("half.safetensors", "related"),
        ("other.safetensors", "other"),
        ("foreign.safetensors", "other model"),
        ("bad.safetensors", "not read"),
    ]
    assert found[2].text.startswith("it is the same LoRA as A at another strength")
    assert abs(found[3].cosine) < 0.1 and all(one.text for one in found[4:])
    with pytest.raises(ValueError, match="is no folder"):
        neighbours(mine, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no other"):
        neighbours(tmp_path / "deep/copy.safetensors", tmp_path / "deep")
