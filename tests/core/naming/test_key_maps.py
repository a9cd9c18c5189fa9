"""The stored key maps: their language, and that every model of ComfyUI is there or left out."""

import pytest

from tests.key_maps import (
    DIFFUSERS,
    DIFFUSION_MODELS,
    FOLDER,
    TEXT_ENCODERS,
    Entry,
    comfyui_models,
    compact,
    diffusers_models,
    expand,
    load,
    models,
)

CLASSES = (FOLDER / "comfyui_classes.txt").read_text().split()


def test_a_key_map_is_written_and_read():
    found = [
        Entry(f"{before}{number}{after}", f"a.{number}.q.weight", start, 4, number == 1, (8, 2))
        for number in (0, 1, 2, 7)
        for start in (0, 4)
        for before, after in (("lora_unet_a_", "_q"), ("x.a.", ".q"), (f"y.{start}.", ".0.p"))
    ]
    found += [Entry("alone", "alone", None, None, False, ())]
    found += [Entry(f"z_{n + 1}", f"b_{n}.3.weight", None, None, False, (1,)) for n in range(3)]
    text = compact(found)
    assert sorted(expand(text)) == sorted(found)
    assert "a.[0,2,7].q.weight 8x2 [0:4] | lora_unet_% x.@ =y.0.[1].0.p @\n" in text
    assert "alone - | @\n" in text and "b_0.3.weight 1 | =z_1 @\n" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    "group, some",
    [
        (DIFFUSION_MODELS, ("Flux", "lora_unet_single_blocks_37_linear1", (21504, 3072))),
        (TEXT_ENCODERS, ("Z-Image", "lora_te_layers_35_mlp_down_proj", (2560, 9728))),
        (DIFFUSERS, ("Flux", "transformer_blocks.18.attn.add_k_proj", (3072, 3072))),
    ],
)
def test_they_hold_what_the_models_have(group, some):
    model, raw, shape = some
    assert {entry.raw: entry.shape for entry in load(group, model)}[raw] == shape
    for name in models(group):
        entries = load(group, name)
        assert entries and len(set(entries)) == len(entries), name


def test_every_model_of_comfyui_has_a_key_map_or_a_reason_not_to():
    mapped = {kind for kind, _ in comfyui_models.MODELS.values()}
    assert mapped | set(comfyui_models.LEFT_OUT) == set(CLASSES)
    assert not mapped & set(comfyui_models.LEFT_OUT)
    assert set(models(DIFFUSION_MODELS)) == set(comfyui_models.MODELS)
    assert set(models(TEXT_ENCODERS)) == set(comfyui_models.TEXT_ENCODERS)


def test_every_model_is_one_of_diffusers_or_has_a_reason_not_to():
    mapped = set(diffusers_models.MODELS)
    assert mapped | set(diffusers_models.LEFT_OUT) == set(comfyui_models.MODELS)
    assert not mapped & set(diffusers_models.LEFT_OUT)
    assert set(models(DIFFUSERS)) == mapped
