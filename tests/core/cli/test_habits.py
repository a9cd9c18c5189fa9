"""What people write from habit: other tools' options and commands, units, commas, presets.

Also of parser.py: it is what answers them.
"""

import pytest
import torch
from safetensors.torch import load_file

from core.cli.main import main
from tests.helpers import KOHYA, dense, flux_file, lora_file, save

NAMES = ["blocks.0.attn", "blocks.1.attn"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save(lora_file(NAMES, seed=1), tmp_path / "a.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "text, meant",
    [
        ("analyz a.safetensors", "analyze"),
        ("concat a.safetensors", "blend"),
        ("topblocks a.safetensors", "top-blocks"),
        ("--verison", "--version"),
        ("resize a.safetensors --new_rank 4", "--rank"),
        ("resize a.safetensors --new_rank=4 -o o", "--rank"),
        ("blend a.safetensors --ratios 1 -o o", "--weights"),
        ("blend a.safetensors --save_to o", "--output"),
        ("blend a.safetensors --block_weights x -o o", "--block-weights"),
        ("blend a.safetensors --balance softmx -o o", "softmax"),
        ("convert a.safetensors --dtyp fp16 -o o", "--dtype"),  # no abbreviations
    ],
)
def test_the_nearest_name_is_suggested(folder, capsys, text, meant):
    with pytest.raises(SystemExit) as caught:
        main(text.split())
    assert caught.value.code == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_what_is_like_nothing_gets_no_suggestion(folder, capsys):
    with pytest.raises(SystemExit):
        main(["info", "a.safetensors", "--qqqq"])
    error = capsys.readouterr().err
    assert "there is no option --qqqq; --help lists them" in error


@pytest.mark.parametrize("option", ["--weights", "--temperature"])
def test_a_decimal_comma_is_explained(folder, capsys, option):
    with pytest.raises(SystemExit):
        main(["blend", "a.safetensors", option, "0,7", "-o", "o.safetensors"])
    assert "with a decimal point it is 0.7, two numbers are 0 7" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0.002", "2kB", "0.002MB", "0.002 mb", "0.000002G"])
def test_sizes_can_have_their_unit(folder, size):
    assert main(["resize", "a.safetensors", "--megabytes", size, "-o", "o.safetensors"]) == 0
    assert (folder / "o.safetensors").stat().st_size <= 2000


def test_a_rank_that_cuts_nothing_is_said(folder, capsys):
    arguments = ["resize", "a.safetensors", "-o", "o.safetensors", "--force", "--rank"]
    assert main([*arguments, "64"]) == 0
    assert "nothing was cut: no layer has more ranks" in capsys.readouterr().out
    assert main([*arguments, "1"]) == 0
    assert "nothing was cut" not in capsys.readouterr().out


def test_block_weights_by_preset_and_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"lora_unet_input_blocks_{i}_1_proj_in" for i in (4, 8)]
    names += [f"lora_unet_output_blocks_{i}_1_transformer_blocks_0_attn1_to_q" for i in (0, 5)]
    names += ["lora_unet_middle_block_1_transformer_blocks_9_attn1_to_q"]
    state = lora_file(names, KOHYA)
    save(state, tmp_path / "a.safetensors")
    (tmp_path / "presets.txt").write_text("MINE: 1,1,0,0,0,0,0,0,0,0,0,1\n")
    for text, kept in (("lbw=OUTD", [2]), ("@presets.txt:MINE", [0, 3])):
        arguments = ["blend", "a.safetensors", "--block-weights", text, "-o", "o.safetensors"]
        assert main([*arguments, "--force", "--verify"]) == 0, capsys.readouterr().err
        assert set(dense(load_file("o.safetensors"))) == {names[i] for i in kept}


def test_an_exclusion_of_nothing_and_a_pattern_of_the_family_are_notes(tmp_path, capsys):
    save(flux_file("kohya") | {"odd": torch.ones(2)}, tmp_path / "a.safetensors")
    arguments = ["select", str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "o.safetensors")]
    text = "UNET, -single_blocks, -nothing_like_it, -double_blocks.17"
    assert main([*arguments, "--layers", text]) == 0
    printed = capsys.readouterr().out
    assert "exclusion '-nothing_like_it': matches no layer" in printed
    assert "'double_blocks.17': this LoRA has no such layers" in printed
