"""What a pattern can mean: other names, short words, the family's layers; and the nearest names."""

import pytest

from core import LoraError
from core.naming.catalogue import FAMILIES
from core.naming.layers import Layers, fits

FLUX, SDXL, WAN = (next(f for f in FAMILIES if f.name == n) for n in ("Flux", "SDXL", "Wan"))
RAWS = {
    "single_blocks.0.linear1": ["transformer.single_transformer_blocks.0.attn.to_q"],
    "single_blocks.1.linear2": ["lora_unet_single_blocks_1_linear2"],
    "single_blocks.1.modulation.lin": ["diffusion_model.single_blocks.1.modulation.lin"],
    "clip_l.transformer.text_model.encoder.layers.0.mlp.fc1": [
        "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    ],
    "t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q": [
        "lora_te2_encoder_block_0_layer_0_SelfAttention_q"
    ],
}
NAMES = list(RAWS)


@pytest.mark.parametrize(
    "text, indices",
    [
        ("SINGLE_BLOCKS.0", [0]),
        ("transformer.single_transformer_blocks.0", [0]),
        ("single_transformer_blocks.0", [0]),
        ("lora_unet_single_blocks_1_linear2", [1]),
        ("lora_unet_*", [1]),
        ("lora_unet_single_blocks_1", [1]),
        ("lora_unet_single_blocks_0-9", [1]),
        ("*mod*", [2, 3]),  # not the prefix diffusion_model
        ("*to_q", [0]),
        ("unet", [0, 1, 2]),
        ("te", [3, 4]),
        ("text_encoder", [3, 4]),
        ("TE1", [3]),
        ("te2", [4]),
        ("text_encoder_2", [4]),
        ("-te", [0, 1, 2]),
        ("unet, -*linear1", [1, 2]),
    ],
)
def test_what_files_and_people_call_layers(text, indices):
    layers = Layers(RAWS, FLUX)
    assert layers.selected(text) == {NAMES[i] for i in indices} and not layers.notes


def test_encoders_without_raw_names_have_their_usual_numbers():
    names = ["clip_l.transformer.a", "clip_g.transformer.a", "t5xxl.transformer.a"]
    for number, name in enumerate(names, 1):
        assert Layers(names).selected(f"te{number}") == {name}


@pytest.mark.parametrize(
    "pattern, family, known",
    [
        ("double_blocks", FLUX, True),
        ("double_blocks.3-7", FLUX, True),
        ("double_blocks.18.img_attn.qkv.q", FLUX, True),
        ("double_blocks.19", FLUX, False),  # Flux has 19 of them
        ("double_block", FLUX, False),
        ("blocks.29.self_attn.q", WAN, True),
        ("blocks.40", WAN, False),
        ("input_blocks.4.1.transformer_blocks.1.attn1", SDXL, True),
        ("input_blocks.9", SDXL, False),
        ("*.bias", FLUX, True),
        ("clip_g", SDXL, True),
        ("te3", FLUX, True),
    ],
)
def test_what_fits_the_family_is_noted_and_the_rest_refused(pattern, family, known):
    layers = Layers(["other.0"], family, "file")
    if known:
        assert layers.selected(f"{pattern}, other") == {"other.0"}
        (note,) = layers.notes
        assert repr(pattern) in note and "no such layers" in note
    else:
        with pytest.raises(LoraError, match="matches no layer"):
            layers.selected(pattern)


def test_without_a_family_only_what_is_there_fits():
    with pytest.raises(LoraError, match="matches no layer"):
        Layers(["a.0"]).selected("double_blocks")


@pytest.mark.parametrize(
    "pattern, nearest",
    [
        ("single_block.0", "did you mean single_blocks.0"),
        ("Single_Bloks.1.linear2", "did you mean single_blocks.1.linear2"),
        ("clip_1", "did you mean clip_l"),
        ("qqq", "such as single_blocks.0.linear1"),
    ],
)
def test_the_nearest_names_are_offered(pattern, nearest):
    with pytest.raises(LoraError) as caught:
        Layers(RAWS, FLUX).selected(pattern)
    assert nearest in str(caught.value)


def test_an_exclusion_of_nothing_is_a_note():
    layers = Layers(NAMES, FLUX)
    assert layers.selected("-nothing, -double_blocks, -clip_l") == {*NAMES} - {NAMES[3]}
    assert len(layers.notes) == 2 and "nothing" in layers.notes[0]


def test_every_family_answers_for_any_pattern():
    for family in FAMILIES:
        assert not fits("no_such_layer.0.1.2.3.4.5.6.7.8.9.10.11.12.13", family)
        assert fits("*", family)
