"""The scale that PEFT's settings tell, where ComfyUI reads another one."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from core import Lora, Reading, StateDict, select
from core.reading.peft_scale import KEY, PeftSettings
from tests import helpers
from tests.core.kinds import FOLDER, changes
from tests.helpers import error, lora

SIZE = (16, 12)


def test_a_report_says_where_diffusers_scales_otherwise_with_numbers():
    report = select(FOLDER / "diffusers_patterns.safetensors", "")[0].report
    (note,) = [n for n in report.notes if "diffusers scales" in n]
    assert "2 of 3 modules by 0.5 to 0.666667" in note and "alpha_pattern {'conv1': 2}" in note
    assert "scale_from_metadata" in note
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
    ["", "[]", "{", "3", '{"lora_alpha": "x"}'],
)
def test_settings_that_cannot_be_read_count_as_none(text):
    tensors = StateDict(lora("x", SIZE, 4), {"lora_adapter_metadata": text})
    assert Lora(tensors).notes == []


def test_alpha_beside_a_module_counts_before_the_settings():
    settings = {"lora_adapter_metadata": '{"lora_alpha": 8, "r": 4}'}
    tensors = StateDict(lora("x", SIZE, 4, alpha=4.0), settings)
    assert Lora(tensors).notes == []
    assert len(Lora(StateDict(lora("x", SIZE, 4), settings)).notes) == 1


@pytest.mark.parametrize(
    "pattern", ["(", "(.*)*" * 12 + "=", "(a|_|.)" * 40 + "=", "(.+)+=", ".*" * 9]
)
def test_patterns_that_would_take_hours_match_nothing(pattern):
    settings = PeftSettings({"lora_alpha": 8, "alpha_pattern": {pattern: 1, "to_q$": 2}})
    assert settings.scale("transformer_blocks.0.attn.add_k_proj.lin", 4) == 2
    assert settings.scale("transformer_blocks.0.attn.to_q", 4) == 0.5
    assert len(settings.unread) == 1
    tensors = StateDict(lora("to_q", SIZE, 4), {KEY: json.dumps(settings.values)})
    assert any("too involved to be matched here" in note for note in Lora(tensors).notes)


@pytest.mark.parametrize(
    "pattern", ["to_q", "attn.to_q", r"blocks\.[0-9]+\.attn\.(to_q|to_k)", ".*q"]
)
def test_patterns_that_trainers_write_match_as_in_peft(pattern):
    settings = PeftSettings({"lora_alpha": 8, "alpha_pattern": {pattern: 2}})
    for path in ("blocks.0.attn.to_q", "blocks.0.attn.to_v"):
        assert settings.scale(path, 4) == (2.0 if path.endswith("to_v") else 0.5)
    assert not settings.unread


@pytest.mark.parametrize("alpha", ["NaN", "Infinity", "1e999", "9" * 400, "-" + "9" * 400])
def test_alphas_that_are_no_numbers_scale_nothing(alpha):
    text = f'{{"lora_alpha": {alpha}}}'
    assert PeftSettings.read({"lora_adapter_metadata": text}).scale("x", 4) == 1.0
