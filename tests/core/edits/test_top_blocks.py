"""Top blocks: what is kept and what is removed are the original together, to the bit."""

import time
from collections.abc import Collection
from typing import NamedTuple

import pytest
import torch

from core import LoraError, Output, choose_blocks, select, top_blocks
from tests.core.six_layers import sample
from tests.helpers import files_in, lora_file, randn, same_bits, save


class Measured(NamedTuple):
    blocks: Collection[str]
    measured: Collection[str]


def names(edited) -> list[str]:
    keys = [key for key in edited.lora if key.endswith("lora_A.weight")]
    return [key.removeprefix("diffusion_model.").removesuffix(".lora_A.weight") for key in keys]


def run(threshold=0.7, **settings):
    choice = choose_blocks(sample(), threshold, "energy")
    return choice, *top_blocks(sample(), choice, rest=Output(), **settings)


BLOCK_1 = ["double_blocks.1.img_attn.proj", "double_blocks.1.txt_attn.proj"]
OTHERS = [
    "double_blocks.0.img_attn.proj",
    "double_blocks.10.img_attn.proj",
    "single_blocks.1.linear2",
]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, [*BLOCK_1, "img_in"]),
        ({"mode": "remove"}, [*OTHERS, "img_in"]),
        ({"other_layers": "remove"}, BLOCK_1),
        ({"mode": "remove", "other_layers": "remove"}, OTHERS),
        ({"always": "single_blocks"}, [*BLOCK_1, "single_blocks.1.linear2", "img_in"]),
        (
            {"mode": "remove", "always": "*txt*", "other_layers": "remove"},
            [BLOCK_1[1], *OTHERS],
        ),
    ],
)
def test_kept_and_rest_are_the_original_to_the_bit(settings, kept):
    choice, first, rest = run(**settings)
    assert choice.blocks == ("double_blocks.1",)
    assert sorted(names(first)) == sorted(kept)
    assert not first.lora.keys() & rest.lora.keys()
    assert same_bits({**first.lora, **rest.lora}, sample())
    assert ("note" in first.lora) == (settings.get("other_layers") != "remove")


def test_files(tmp_path):
    path = save(sample(), tmp_path / "in.safetensors")
    choice = choose_blocks(path, 0.7, "energy")
    kept, rest = top_blocks(path, choice, output=Output(tmp_path / "kept.safetensors"))
    assert rest is None and kept.lora.exists()
    again, _ = select(kept.lora, "double_blocks.1")
    assert sorted(names(again)) == BLOCK_1


def test_blocks_that_cannot_be_measured_stay():
    state = sample() | {
        "diffusion_model.double_blocks.7.img_attn.proj.oft_blocks": randn((2, 4, 4))
    }
    choice = choose_blocks(state, 0.7, "energy")
    kept, rest = top_blocks(state, choice, rest=Output())
    assert "diffusion_model.double_blocks.7.img_attn.proj.oft_blocks" in kept.lora
    removed, _ = top_blocks(state, choice, "remove")
    assert "diffusion_model.double_blocks.7.img_attn.proj.oft_blocks" in removed.lora
    assert same_bits({**kept.lora, **rest.lora}, state)


def test_the_analysis_of_another_lora_is_refused():
    choice = choose_blocks(lora_file(["diffusion_model.double_blocks.3.img_attn.proj"]), 0.9)
    with pytest.raises(LoraError, match=r"no block double_blocks\.3: the analysis is of another"):
        top_blocks(sample(), choice)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "invert"}, "mode 'invert' is unknown; choose one of keep, remove"),
        ({"other_layers": "maybe"}, "other_layers 'maybe' is unknown"),
        ({"always": "-img_in"}, "exclusion has no meaning"),
        ({"always": "nothing.here"}, "matches no layer"),
        ({"threshold": 1.0, "mode": "remove", "other_layers": "remove"}, "nothing is left"),
        ({"threshold": 1.0}, "so there is no rest to write"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(LoraError, match=message):
        run(**settings)


def test_nothing_is_left_behind_by_an_error(tmp_path):
    path = save(sample(), tmp_path / "in.safetensors")
    output = Output(tmp_path / "out.safetensors")
    with pytest.raises(LoraError):
        top_blocks(path, choose_blocks(path, 0.7), always="nothing", output=output)
    assert files_in(tmp_path) == {"in.safetensors"}


@pytest.mark.parametrize("key", ["*", "double_blocks", "a,b", "-img_in", "double_blocks.0-9", "\n"])
def test_the_name_of_a_tensor_is_no_pattern(key):
    state = sample() | {key: torch.ones(2)}
    kept, rest = top_blocks(state, choose_blocks(state, 0.7, "energy"), rest=Output())
    assert sorted(names(kept)) == sorted([*BLOCK_1, "img_in"]) and key in kept.lora
    assert same_bits({**kept.lora, **rest.lora}, state)
    settings = {"other_layers": "remove", "rest": Output()}
    kept, rest = top_blocks(state, choose_blocks(state, 0.7, "energy"), **settings)
    assert sorted(names(kept)) == sorted(BLOCK_1) and key in rest.lora


@pytest.mark.parametrize(
    "name", ["*.x", "a,b.x", "-double_blocks.1.x", "double_blocks,c.blocks.0.x"]
)
def test_the_name_of_a_layer_is_no_pattern(name):
    state = sample() | lora_file([f"diffusion_model.{name}"], rank=2)
    kept, rest = top_blocks(state, choose_blocks(state, 0.7, "energy"), rest=Output())
    assert sorted(names(kept)) == sorted([*BLOCK_1, "img_in", name])
    assert same_bits({**kept.lora, **rest.lora}, state)


@pytest.mark.slow
def test_thousands_of_blocks_take_no_longer_each():
    pair = {".lora_B.weight": torch.ones(1, 1), ".lora_A.weight": torch.ones(1, 1)}
    state = {f"m.blocks.{i}.x{end}": t for i in range(4000) for end, t in pair.items()}
    choice = Measured(
        [f"m.blocks.{i}" for i in range(0, 4000, 2)], {f"m.blocks.{i}" for i in range(4000)}
    )
    start = time.process_time()
    kept, _ = top_blocks(state, choice)
    assert len(kept.lora) == 4000 and time.process_time() - start < 10
