"""How a file can be read otherwise than ComfyUI reads it, and files that ComfyUI renames."""

import re
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from core import Blend, Lora, LoraError, Reading, StateDict, blend, select
from core.insight.info import summary
from core.reading.peft_scale import PeftSettings
from tests import helpers
from tests.core.kinds import FOLDER, changes, control_lora
from tests.helpers import error, lora, lora_file

SIZE = (16, 12)

# -- reading options ------------------------------------------------------------------------------


def test_dropping_magnitudes_is_said_and_writes_plain_lora():
    path = FOLDER / "locon_dora.safetensors"
    edited = blend(Lora(path, reading=Reading(drop_magnitude=True)), None, Blend(weights=(0.5,)))
    assert not any("dora_scale" in key for key in edited.lora)
    assert any("without the magnitudes of 3 DoRA modules" in n for n in edited.report.notes)
    dropped = [key for key in edited.report.dropped if key.endswith(".dora_scale")]
    assert len(dropped) == 3
    kept = select(Lora(path, reading=Reading(drop_magnitude=True)), "")[0].lora
    assert edited.report.settings["reading"][0]["drop_magnitude"]
    assert helpers.same_bits(kept, {k: t for k, t in load_file(path).items() if "dora" not in k})


def test_a_report_says_where_diffusers_scales_otherwise_with_numbers():
    report = select(FOLDER / "diffusers_patterns.safetensors", "")[0].report
    (note,) = [n for n in report.notes if "diffusers scales" in n]
    assert "2 of 3 modules by 0.5 to 0.666667" in note and "alpha_pattern {'conv1': 2}" in note
    assert "--scale-from-metadata" in note
    lora = Lora(
        FOLDER / "diffusers_patterns.safetensors", reading=Reading(scale_from_metadata=True)
    )
    kept = select(lora, "")[0]
    (note,) = [n for n in kept.report.notes if "scaled 2 of 3" in n]
    # What is written says by itself what diffusers reads: the settings are gone with it.
    assert "lora_adapter_metadata" not in kept.lora.metadata
    theirs = changes(FOLDER / "diffusers_patterns.safetensors", Reading(scale_from_metadata=True))
    for raw, change in changes(kept.lora).items():
        assert error(change, theirs[raw].reshape(change.shape)) < 1e-6


def test_the_settings_of_a_file_whose_scale_is_one_change_nothing():
    path = Path(__file__).parents[3] / "core" / "samples" / "style_diffusers.safetensors"
    lora = Lora(path, reading=Reading(scale_from_metadata=True))
    assert lora.notes == []
    assert helpers.same_bits(select(lora, "")[0].lora, load_file(path))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "3", '{"lora_alpha": "x"}', '{"lora_alpha": 4, "alpha_pattern": {"(": 1}}'],
)
def test_settings_that_cannot_be_read_count_as_none(text):
    tensors = StateDict(lora("x", SIZE, 4), {"lora_adapter_metadata": text})
    assert Lora(tensors).notes == []


def test_alpha_beside_a_module_counts_before_the_settings():
    settings = {"lora_adapter_metadata": '{"lora_alpha": 8, "r": 4}'}
    tensors = StateDict(lora("x", SIZE, 4, alpha=4.0), settings)
    assert Lora(tensors).notes == []
    assert len(Lora(StateDict(lora("x", SIZE, 4), settings)).notes) == 1


# -- files that ComfyUI renames as a whole --------------------------------------------------------


def test_a_control_lora_is_read_as_comfyui_renames_it():
    read = Lora(StateDict(control_lora(), name="depth"))
    kinds = {m.canonical: m.adapter.kind.name for m in read.modules.values()}
    assert kinds == {
        "double_blocks.0.img_attn.qkv": "LoRA",
        "double_blocks.0.img_attn.qkv.bias": "bias",
        "img_in": "reshaped weight",
        "img_in.bias": "bias",
        "single_blocks.0.norm.key_norm": "set weight",
        "double_blocks.0.img_attn.norm.query_norm": "set weight",
    }
    assert read.other == {} and any("Flux control LoRA" in note for note in read.notes)
    kept = select(read, "-img_in.bias")[0].lora
    assert kept["diffusion_model.img_in.reshape_weight"].tolist() == [8, 16]
    assert "diffusion_model.single_blocks.0.norm.key_norm.set_weight" in kept
    with pytest.raises(
        LoraError, match="depth: module img_in: is a reshaped weight, and it enlarges"
    ):
        blend(read, None, Blend(weights=(0.5,)))
    with pytest.raises(LoraError, match="is a set weight, and it replaces the base weight"):
        blend(read, None, Blend(weights=(0.5,), layers="-img_in"))
    left = blend(read, None, Blend(weights=(0.5,), layers="-img_in, -*norm*")).lora
    assert sorted(Lora(left).modules) == [
        "double_blocks.0.img_attn.qkv",
        "double_blocks.0.img_attn.qkv.bias",
    ]


def test_wan_fun_names_are_read_and_written_as_kohyas():
    name = "lora_unet__blocks_0_cross_attn_k"
    read = Lora(StateDict(lora(name, (8, 8), 2, helpers.KOHYA, 1.0)))
    assert list(read.modules) == ["blocks.0.cross_attn.k"] and read.family.name == "Wan"
    kept = select(read, "")[0].lora
    assert all(key.startswith("lora_unet_blocks_0_cross_attn_k.") for key in kept)


def test_uso_names_are_read_as_comfyui_renames_them():
    pair = (".up.weight", ".down.weight")
    tensors = lora("single_blocks.37.processor.qkv_lora", (24, 8), 2, pair)
    tensors |= lora("single_blocks.37.processor.proj_lora", (8, 40), 2, pair)
    for number in (1, 2):
        tensors |= lora(f"double_blocks.18.processor.qkv_lora{number}", (24, 8), 2, pair)
        tensors |= lora(f"double_blocks.18.processor.proj_lora{number}", (8, 8), 2, pair)
    read = Lora(StateDict(tensors))
    assert set(read.modules) == {
        "single_blocks.37.linear1.qkv",
        "single_blocks.37.linear2",
        "double_blocks.18.img_attn.qkv",
        "double_blocks.18.img_attn.proj",
        "double_blocks.18.txt_attn.qkv",
        "double_blocks.18.txt_attn.proj",
    }
    assert read.other == {}


@pytest.mark.parametrize("pattern", ["(.*)*" * 12 + "=", "(a|_|.)" * 40 + "=", "(.+)+=", ".*" * 9])
def test_patterns_that_would_take_hours_match_nothing(pattern):
    settings = PeftSettings({"lora_alpha": 8, "alpha_pattern": {pattern: 1, "to_q$": 2}})
    assert settings.scale("transformer_blocks.0.attn.add_k_proj.lin", 4) == 2
    assert settings.scale("transformer_blocks.0.attn.to_q", 4) == 0.5


@pytest.mark.parametrize(
    "pattern", ["to_q", "attn.to_q", r"blocks\.[0-9]+\.attn\.(to_q|to_k)", ".*q"]
)
def test_patterns_that_trainers_write_match_as_in_peft(pattern):
    settings = PeftSettings({"lora_alpha": 8, "alpha_pattern": {pattern: 2}})
    for path in ("blocks.0.attn.to_q", "blocks.0.attn.to_v"):
        assert settings.scale(path, 4) == (2.0 if path.endswith("to_v") else 0.5)


@pytest.mark.parametrize("alpha", ["NaN", "Infinity", "1e999", "9" * 400, "-" + "9" * 400])
def test_alphas_that_are_no_numbers_scale_nothing(alpha):
    text = f'{{"lora_alpha": {alpha}}}'
    assert PeftSettings.read({"lora_adapter_metadata": text}).scale("x", 4) == 1.0


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 5000 + "]" * 5000])
def test_metadata_of_any_depth_can_be_opened(text):
    tensors = StateDict(lora_file("x"), {"lora_adapter_metadata": text, "lora_alloy": text})
    assert any(line.endswith(text) for line in summary(Lora(tensors)))


def test_many_or_costly_patterns_take_little_time():
    """20 kB of patterns on a thousand names: a second or so, whatever they are."""
    names = [f"transformer_blocks.{i}.attn.{'a.' * 30}to_q" for i in range(1000)]
    costly = [f"{'.*a' * 3}{i}x" for i in range(2000)]
    some = [f"(a|b)?c{{1,{i}}}" for i in range(1, 1500)]
    plain = [f"blocks.{i}.attn.to_k" for i in range(1500)]
    for patterns in (costly, some, plain, [*costly[:50], *some[:50], *plain]):
        settings = PeftSettings(
            {"lora_alpha": 8, "alpha_pattern": dict.fromkeys(patterns, 1) | {"7.attn.*to_q": 2}}
        )
        start = time.process_time()
        assert {settings.scale(name, 4) for name in names} <= {2.0, 0.5}
        assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "patterns, path, alpha",
    [
        ({"to_q": 1, "attn.to_q": 2}, "a.attn.to_q", 1),
        ({"attn.to_q": 2, "to_q": 1}, "a.attn.to_q", 2),
        ({r"a\.to_[qk]": 2, "to_q": 1}, "a.to_q", 2),
        ({"to_q": 1, r"a\.to_[qk]": 2}, "a.to_q", 1),
        ({"o_q": 1}, "a.to_q", 8),
        ({"^to_q": 1}, "a.to_q", 8),
        ({"^to_q": 1}, "to_q", 1),
        ({r"to_out\.0$": 1}, "a.to_out.0", 1),
        ({"a": 1}, "a.to_q", 8),
        ({"": 1}, "a.to_q", 8),
    ],
)
def test_the_first_pattern_that_matches_counts(patterns, path, alpha):
    settings = PeftSettings({"lora_alpha": 8, "alpha_pattern": patterns})
    theirs = (key for key in patterns if re.match(rf"(.*\.)?({key})$", path))  # PEFT 0.18.
    assert alpha == patterns.get(next(theirs, None), 8)
    assert settings.scale(path, 4) == alpha / 4
