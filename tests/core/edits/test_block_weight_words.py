"""Block weights: vectors, presets, files of them, and patterns that mean nothing here."""

import pytest

from core import Blend, LoraError, blend
from core.edits.block_weights import from_files, parse_block_weights
from core.naming.catalogue import FAMILIES
from core.naming.layers import Layers
from tests.helpers import lora_file

SD15 = next(family for family in FAMILIES if family.name == "SD1.5")
IN1, IN4, OUT3, OUT9, TE, CONV = NAMES = [
    "input_blocks.1.1.proj_in",
    "input_blocks.4.1.proj_in",
    "output_blocks.3.1.proj_in",
    "output_blocks.9.1.proj_in",
    "clip_l.transformer.text_model.encoder.layers.0.mlp.fc1",
    "input_blocks.0.0",
]
OUTD = "1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0"


def weights(text, count=1):
    layers = Layers(NAMES, SD15)
    rule = parse_block_weights(text, layers, count)
    assert not layers.notes
    return [list(rule(name, [])) for name in NAMES]


@pytest.mark.parametrize("text", ["lbw=OUTD", "LBW=outd", "OUTD", OUTD, f"lbw={OUTD}", f"X:{OUTD}"])
def test_vectors_and_presets(text):
    # Blocks that a vector does not name stay as they are.
    assert weights(text) == [[0], [0], [1], [0], [1], [1]]
    assert weights(text, 2) == [[0, 0], [0, 0], [1, 1], [0, 0], [1, 1], [1, 1]]


def test_a_vector_for_each_file_and_lines_after_it():
    found = weights("lbw=OUTD/INALL\nte: 0.5, 0", 2)
    assert found == [[0, 1], [0, 1], [1, 0], [0, 0], [0.5, 0], [1, 1]]
    with pytest.raises(LoraError, match="2 vectors for 3 files"):
        weights("lbw=OUTD/INALL", 3)


def test_where_a_number_is_left_out_earlier_lines_count():
    found = weights("lbw=OUTD/INALL\ninput_blocks: , 3\nlbw=/NONE\n*.4: 7 ,", 2)
    assert found == [[0, 0], [7, 0], [1, 0], [0, 0], [1, 0], [1, 3]]
    for text in ("te:", "te: ,", "te: , ,"):
        with pytest.raises(LoraError, match="cannot be read"):
            weights(text, 2)


def test_as_many_numbers_as_files_are_columns_even_where_a_vector_is_as_long():
    line = ",".join(map(str, range(17)))
    assert weights(f"te: {line}", 17)[4] == list(range(17))
    assert weights(f"te: {line}", 1)[4] == [0]


def test_a_blend_says_which_patterns_mean_nothing_here():
    file = lora_file(["lora_unet_single_blocks_0_linear2", "lora_unet_single_blocks_1_linear2"])
    text = "double_blocks: 0.5; single_blocks.0: 0.5"
    report = blend(file, None, Blend(block_weights=text)).report
    (note,) = [note for note in report.notes if "double_blocks" in note]
    assert "no such layers" in note
    assert [row.action for row in report.modules] == ["scaled", "copied"]
    with pytest.raises(LoraError, match=r"did you mean single_blocks\.0"):
        blend(file, None, Blend(block_weights="single_block.0: 1"))


def test_block_weights_in_a_file(tmp_path):
    path = tmp_path / "presets.txt"
    path.write_text(f"OUT:{OUTD}\n[half]\nte: 0.5\ninput_blocks: 0.5\n[other]\nte: 0\n")
    assert weights(from_files(f"@{path}:OUT")) == weights(OUTD)
    assert from_files(f"@{path}:half").split("\n") == ["te: 0.5", "input_blocks: 0.5"]
    assert from_files(f"a: 1; @{path}:other").split("\n") == ["a: 1", "te: 0"]
    plain = tmp_path / "plain.txt"
    plain.write_text("te: 0\n")
    assert from_files(f"@{plain}") == "te: 0"
    for text, message in ((f"@{path}:none", "no block weights called 'none'"),
                          (f"@{tmp_path}/missing:x", "cannot be read")):  # fmt: skip
        with pytest.raises(LoraError, match=message):
            from_files(text)
