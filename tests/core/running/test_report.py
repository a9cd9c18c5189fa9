"""What people and machines are told: sentences, tables, totals."""

import json

from core import Blend, Output, RankRule, blend, resize, verify
from core.running.report import markdown_table
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
