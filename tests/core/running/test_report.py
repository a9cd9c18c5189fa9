"""What people and machines are told: sentences, tables, totals."""

import json

from core import Blend, Output, RankRule, blend, resize, verify
from core.running.report import letter, markdown_table
from tests.helpers import KOHYA, lora, lora_file, randn

NAMES = [f"lora_unet_double_blocks_{i}_img_attn_proj" for i in (0, 1)]
FIRST = lora_file(NAMES, KOHYA, alpha=2.0) | {"table": randn((3,))}
SECOND = lora_file([NAMES[1], "lora_unet_single_blocks_3_linear2"], KOHYA, rank=6)


def report():
    return blend(FIRST, SECOND, Blend((0.5, 0.5), 3, layers="-double_blocks.0")).report


def cells(line):
    """The cells of a line of a Markdown table."""
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_a_table_is_aligned_for_plain_text():
    assert markdown_table(("a", "long"), [("wide", "1"), ("", "22")]) == [
        "| a    | long |",
        "| ---- | ---- |",
        "| wide | 1    |",
        "|      | 22   |",
    ]


def test_the_account_in_sentences():
    lines = report().summary()
    assert lines[0].startswith("2 modules written, rank 3: ")
    assert lines[1] == "1 modules in both files, 0 only in the first, 1 only in the second"
    assert "relative error" in lines[2] and "energy kept" in lines[2]
    assert any("dropped: double_blocks.0.img_attn.proj (not selected)" in line for line in lines)
    assert any("carried through: table" in line for line in lines)


def test_the_account_as_markdown_lists_the_worst_modules_first():
    text = report().markdown(rows=1)
    worst = max(report().modules, key=lambda row: row.relative_error).module
    assert text.startswith("## Blend\n") and worst in text
    assert "1 more modules with smaller errors." in text


def test_modules_with_one_fate_are_one_line_that_says_what_they_are_made_of():
    names = [f"double_blocks.{i}.img_attn.proj" for i in range(12)]
    files = [lora_file([f"diffusion_model.{name}" for name in names], seed=s) for s in (1, 2)]
    weights = "double_blocks.2-7: 1, 0\ndouble_blocks.9: 0, 0\ndouble_blocks.10: 1, 0.5"
    text = blend(files, None, Blend((1.0, -0.5), "full", block_weights=weights)).report.markdown()
    rows = [row[:3] for row in map(cells, text.splitlines()) if len(row) > 3]
    assert [*rows[0]] == ["module", "made of", "action"]
    assert sorted(rows[2:6]) == sorted([
        ["4 in double_blocks.0-1, double_blocks.8, double_blocks.11", "A - 0.5 B", "blended"],
        ["6 in double_blocks.2-7", "A", "copied"],
        ["double_blocks.9.img_attn.proj", "-", "dropped (1)"],
        ["double_blocks.10.img_attn.proj", "A - 0.25 B", "blended"],
    ])  # fmt: skip
    assert "\n(1) its weight is zero" in text and "* A is state dict\n* B is state dict" in text
    alone = resize(files[0], RankRule("rank", 64)).report.markdown()
    assert "made of" not in alone and "| 12 in double_blocks.0-11 | copied |" in alone


def test_letters_do_not_run_out():
    assert [letter(i) for i in (0, 25, 26, 51, 52, 701, 702)] == [
        "A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"
    ]  # fmt: skip


def test_the_account_is_json():
    facts = json.loads(json.dumps(report().as_dict(), allow_nan=False))
    assert facts["operation"] == "blend" and len(facts["modules"]) == 2
    assert facts["relative_error"] == report().relative_error
    assert facts["matched"] == 1 and facts["only_in"] == [0, 1]


def test_what_has_no_number_is_no_number():
    dora = lora("x") | {"x.dora_scale": randn((16, 1))} | lora("y")
    found = verify(dora, [dora], [1.0])
    facts = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    row = next(row for row in facts["modules"] if row["module"] == "x")
    assert row["relative_error"] is None and row["retained_energy"] is None
    table = found.markdown().splitlines()
    assert next(row for row in map(cells, table) if row[:1] == ["x"])[-2:] == ["-", "-"]


def test_totals_of_nothing_are_no_error():
    zero = {key: t * 0 for key, t in lora("x").items()}
    assert resize(zero, RankRule("energy", 0.9)).report.relative_error == 0
    assert verify(zero, [zero], [1.0]).relative_error == 0


def test_ranks_of_a_mixed_file_are_a_range():
    mixed = lora("x", rank=2) | lora("y", rank=6)
    lines = blend(mixed, None, Blend((0.5,), "full")).report.summary()
    assert "rank 2 to 6" in lines[0]
    differences = {"x.diff": randn((4, 4))}
    assert "rank none" in blend(differences, None, Blend((0.5,), "full")).report.summary()[0]


def test_where_the_result_went_is_said(tmp_path):
    done = blend(FIRST, None, Blend(), Output(tmp_path / "out.safetensors"))
    assert done.report.output == str(tmp_path / "out.safetensors")
    assert blend(FIRST, None, Blend()).report.output is None
