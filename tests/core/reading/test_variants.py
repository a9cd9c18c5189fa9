"""Files for other weights of one family: names, metadata, layers and shapes tell."""

import pytest

from core import Blend, Lora, blend
from core.reading.variants import told_by, variant_notes
from tests.helpers import lora_file, save

Q = "diffusion_model.blocks.{}.self_attn.q"
FFN = "diffusion_model.blocks.{}.ffn.0"


def wan(folder, name, layer=Q, numbers=(0, 1), shape=(8, 8), metadata=None, extra=()):
    names = [*map(layer.format, numbers), "diffusion_model.blocks.0.cross_attn.o", *extra]
    return save(lora_file(names, shape=shape), folder / f"{name}.safetensors", metadata or {})


@pytest.mark.parametrize(
    "first, second, words",
    [
        ("wan2.2_high_noise", "wan2.2_low_noise", ("high noise", "low noise")),
        ("Wan22_A14B_T2V_HIGH_x", "Wan22_A14B_T2V_LOW_x", ("high noise", "low noise")),
        ("cat_t2v", "cat_i2v", ("t2v", "i2v")),
        ("wan_1.3b", "wan_14B", ("1.3B", "14B")),
        ("wan_t2v_1_3b", "wan_i2v_14B", ("t2v", "i2v", "1.3B", "14B")),
        ("klein_4b", "klein_9b", ("4B", "9B")),
    ],
)
def test_file_names_tell(tmp_path, first, second, words):
    files = [wan(tmp_path, first), wan(tmp_path, second)]
    (note,) = variant_notes([Lora(file) for file in files])
    assert all(word in note for word in words) and "not the same weights" in note
    assert note in blend(*files, Blend(rank="full")).report.notes


@pytest.mark.parametrize(
    "first, second",
    [
        ("wan_high_quality", "wan_low_noise"),
        ("wan_high", "wan_highres"),
        ("cat", "dog_i2v"),
        ("wan_a14b", "wan_14B"),
        ("ti2v_5b", "style_ti2v"),
        ("high_and_low_noise", "low_noise"),
        ("wan_low_vram", "wan_high"),
    ],
)
def test_what_says_nothing_is_no_reason(tmp_path, first, second):
    assert not variant_notes([Lora(wan(tmp_path, first)), Lora(wan(tmp_path, second))])


def test_metadata_and_layers_tell(tmp_path):
    t2v = wan(tmp_path, "a", metadata={"ss_base_model_version": "wan2.1-t2v-14b"})
    i2v = wan(tmp_path, "b", extra=["diffusion_model.blocks.0.cross_attn.k_img"])
    assert told_by(Lora(t2v)) == {"task": "t2v", "size": "14B"}
    assert told_by(Lora(i2v)) == {"task": "i2v"}
    assert variant_notes([Lora(t2v), Lora(i2v)])


def test_shapes_tell_where_no_layer_is_shared(tmp_path):
    large = lora_file([Q.format(i) for i in (0, 1)], shape=(10, 10))
    small = lora_file([Q.format(i) for i in (2, 3)], shape=(6, 6))
    report = blend(large, small, Blend(rank="full")).report
    (note,) = [note for note in report.notes if "not the same weights" in note]
    assert "self_attn.q of 10 x 10" in note and "6 x 6" in note
    same = lora_file([Q.format(i) for i in (2, 3)], shape=(10, 10))
    assert not variant_notes([Lora(large), Lora(same)])
