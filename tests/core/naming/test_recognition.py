"""How a file's family is told: by its names, its shapes and its metadata."""

import pytest

from benchmarks.key_maps import load
from core import Lora, StateDict
from core.naming.catalogue import FAMILIES
from core.naming.family import UNKNOWN
from core.naming.recognition import recognise
from tests.helpers import PEFT, lora

BY_NAME = {family.name: family for family in FAMILIES}
KEY_MAPS = {
    "flux": "Flux", "qwen-image": "Qwen-Image", "sd1.5": "SD1.5", "sdxl": "SDXL",
    "wan2.1-14b": "Wan", "z-image": "Z-Image",
}  # fmt: skip


def names_of(key_map: str, wanted, spelled=lambda s: s.startswith("lora_unet_")) -> dict:
    """{raw name: shape} of a key map's weights that `wanted` chooses, in a spelling."""
    result = {}
    for target in load(key_map):
        if wanted(target.weight):
            shape = list(target.shape)
            if target.slice:
                shape[target.slice[0]] = target.slice[2]
            result |= {s: tuple(shape) for s in target.spellings if spelled(s)}
    return result


SPELLED = {
    "kohya": lambda s: s.startswith("lora_unet_"),
    "generic": lambda s: s.startswith("diffusion_model."),
    "diffusers": lambda s: s.startswith(("transformer.", "unet.")),
    "lycoris": lambda s: s.startswith("lycoris_"),
}


@pytest.mark.slow
@pytest.mark.parametrize("spelling", SPELLED)
@pytest.mark.parametrize("key_map, name", KEY_MAPS.items())
def test_a_whole_file_is_recognised_with_certainty(key_map, name, spelling):
    names = names_of(key_map, lambda weight: True, SPELLED[spelling])
    if not names:
        pytest.skip(f"ComfyUI reads no {spelling} names for {key_map}")
    found = recognise(names)
    assert (found.family, found.confidence) == (BY_NAME[name], "certain")
    assert (found.known, found.total) == (len(names), len(names))


@pytest.mark.parametrize(
    "metadata, name",
    [
        ({"ss_base_model_version": "flux1"}, "Flux"),
        ({"modelspec.architecture": "flux-1-dev/lora"}, "Flux"),
        ({"modelspec.architecture": "Flux.1-dev/lora"}, "Flux"),
        ({"ss_base_model_version": "chroma"}, "Chroma"),
        ({"modelspec.architecture": "hunyuan-video/lora"}, "HunyuanVideo"),
    ],
)
def test_metadata_decide_between_families_with_the_same_names(metadata, name):
    names = names_of("flux", lambda w: w.startswith("double_blocks.0.img_attn.proj"))
    assert recognise(names).confidence == "possible"
    found = recognise(names, metadata)
    assert (found.family, found.confidence) == (BY_NAME[name], "certain")


@pytest.mark.parametrize(
    "told, name",
    [
        ("sd_v1", "SD1.5"), ("sd_1.5", "SD1.5"), ("stable-diffusion-v1", "SD1.5"),
        ("sdxl_base_v1-0", "SDXL"), ("stable-diffusion-xl-v1-base/lora", "SDXL"),
        ("sd3", "SD3"), ("stable-diffusion-3-medium", "SD3"), ("flux2_klein_4b", "Flux.2"),
        ("Flux.2-dev", "Flux.2"), ("Qwen-Image", "Qwen-Image"), ("wan_2.2_14b", "Wan"),
        ("wan2.1", "Wan"), ("Z-Image", "Z-Image"), ("ltxv", "LTX-Video"), ("krea2", "Krea 2"),
        ("hidream-i1", "HiDream"), ("lumina2", "Lumina 2"), ("omnigen2", "OmniGen2"),
    ],
)  # fmt: skip
def test_what_trainers_call_the_models_points_to_one_family(told, name):
    import re

    from core.naming.recognition import told_by

    text = told_by({"ss_base_model_version": told})
    assert [f.name for f in FAMILIES if re.search(f.metadata, text)] == [name]


def test_metadata_do_not_overrule_names():
    names = names_of("sdxl", lambda w: w.startswith("input_blocks.4.1"))
    assert recognise(names, {"ss_base_model_version": "flux1"}).family.name == "SDXL"


def test_shapes_decide_between_flux_and_flux_2():
    name = "lora_unet_single_blocks_0_linear1"
    assert recognise({name: (21504, 3072)}).family.name == "Flux"
    assert recognise({name: (36864, 4096)}).family == BY_NAME["Flux.2"]
    assert recognise({name: (36864, 4096)}).confidence == "certain"


def test_the_number_of_blocks_decides():
    def attention(count):
        return {f"transformer.transformer_blocks.{i}.attn.to_q": (3072, 3072) for i in range(count)}

    assert recognise(attention(60)).family.name == "Qwen-Image"
    assert recognise(attention(60)).confidence == "certain"
    assert recognise(attention(2)).confidence == "possible"


def test_a_tie_names_all_that_it_could_be():
    found = recognise({"lora_unet_double_blocks_0_img_attn_qkv": (9216, 3072)})
    assert found.confidence == "possible"
    assert str(found).startswith("Flux or Flux.2 or Chroma or HunyuanVideo or Ovis-Image (possible")


def test_the_other_file_settles_a_tie():
    names = {"lora_unet_double_blocks_0_img_attn_qkv": (9216, 3072)}
    found = recognise(names, prefer=BY_NAME["Chroma"])
    assert (found.family.name, found.confidence) == ("Chroma", "likely")
    assert recognise(names, prefer=BY_NAME["SDXL"]).family.name == "Flux"


def test_a_few_chance_hits_do_not_make_a_family():
    names = {f"diffusion_model.new.{i}.thing": () for i in range(9)} | {
        "diffusion_model.proj_out": ()
    }
    found = recognise(names)
    assert found.family is UNKNOWN and str(found) == "unknown model family"


def test_text_encoders_alone_tell_no_family():
    found = recognise({"lora_te1_text_model_encoder_layers_0_mlp_fc1": (3072, 768)})
    assert (found.family, found.known, found.total) == (UNKNOWN, 0, 0)


@pytest.mark.parametrize(
    "sample, confidence", [("character_kohya", "certain"), ("style_diffusers", "possible")]
)
def test_the_samples_are_flux(sample, confidence):
    from pathlib import Path

    path = Path(__file__).parents[3] / "core" / "samples" / f"{sample}.safetensors"
    found = Lora(path).recognition
    assert (found.family.name, found.confidence) == ("Flux", confidence)


def test_a_model_that_no_table_knows_still_works():
    one = lora("diffusion_model.new.0.thing", pair=PEFT)
    two = lora("lora_unet_new_0_thing", pair=PEFT)
    first, second = Lora(StateDict(one)), Lora(StateDict(two))
    assert first.family is UNKNOWN
    (left,), (right,) = first.modules.values(), second.modules.values()
    assert left.identity == right.identity and left.canonical == "new.0.thing"
