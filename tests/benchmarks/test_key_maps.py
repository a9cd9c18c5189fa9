"""The compact key maps expand to what was read from ComfyUI, name by name."""

import dataclasses
import hashlib
import json

import pytest

from benchmarks.key_maps import FAMILIES, load

# SHA-256 of the full targets as JSON, from ComfyUI 0.33: the compact form lost nothing.
LISTED = {
    "flux": "02f22baa61c19c58ef0825279fa9e96a29e4779413dcfee4cc463b2685871de1",
    "qwen-image": "527880c51ab2055759d139b2718cbf7d6b0f0575c2caaa26cc873ab3c41b5a80",
    "sd1.5": "149f149c6968daf321f3a2546b935558cd587c236b6f012d94d4e8263faf6fe2",
    "sdxl": "4ebe23035a1401e38cfe006aa59189d537551360cf3d5797401126922546d74a",
    "wan2.1-14b": "b32c7d858b256f1fe2d2038ce271349bcc361ee1c98eeaffea407d4d70332d03",
    "z-image": "fcf2563d2041fb0c05bfdde92cbcda3c0255fb9981e024c21806383b6da4307d",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_compact_form_loses_nothing(family):
    text = json.dumps([dataclasses.asdict(target) for target in load(family)])
    assert hashlib.sha256(text.encode()).hexdigest() == LISTED[family]


@pytest.mark.parametrize("family", [*FAMILIES, "clip-l", "clip-g"])
def test_a_spelling_means_one_thing_only(family):
    spellings = [spelling for target in load(family) for spelling in target.spellings]
    assert len(spellings) == len(set(spellings))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_slice_lies_inside_its_weight(family):
    for target in load(family):
        if target.slice:
            dimension, start, length = target.slice
            assert 0 <= start < start + length <= target.shape[dimension]


@pytest.mark.parametrize("encoder, count, width", [("clip-l", 72, 768), ("clip-g", 192, 1280)])
def test_text_encoders(encoder, count, width):
    targets = load(encoder)
    assert len(targets) == count
    assert targets[0].weight == "text_model.encoder.layers.0.mlp.fc1"
    assert targets[0].shape == (4 * width, width)


def test_an_unknown_family_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"'flux3'.*flux"):
        load("flux3")
