"""The names of checkpoints: which part of the model a key is of, and how LoRA files call it."""

import pytest

from core.naming.checkpoints import open_clip_names, readings


@pytest.mark.parametrize(
    ("key", "raw"),
    [
        ("model.diffusion_model.img_in", "diffusion_model.img_in"),
        ("conditioner.embedders.0.transformer.text_model.x", "clip_l.transformer.text_model.x"),
        ("conditioner.embedders.1.model.ln_final", "clip_g.transformer.ln_final"),
        ("text_encoders.t5xxl.transformer.shared", "t5xxl.transformer.shared"),
        ("first_stage_model.decoder.conv_in", None),
        ("alphas_cumprod", None),
    ],
)
def test_a_checkpoint_says_what_each_name_is_of(key, raw):
    (found,) = readings(["model.diffusion_model.x", key])
    assert found.get(key, "None").removeprefix("text_encoders.") == str(raw)


def test_a_model_alone_can_have_a_prefix_or_begin_with_the_same_word():
    bare, stripped = readings(["transformer.layers.0", "transformer.layers.1"])
    assert bare["transformer.layers.0"] == "diffusion_model.transformer.layers.0"
    assert stripped["transformer.layers.0"] == "diffusion_model.layers.0"
    (only,) = readings(["img_in", "vae.decoder", "text_model.x"])
    assert only == {"img_in": "diffusion_model.img_in", "text_model.x": "text_encoder.text_model.x"}


def test_open_clip_has_one_weight_for_three():
    front = "text_encoders.clip_g.transformer."
    layer = front + "text_model.encoder.layers.7.self_attn."
    three = [f"{layer}{part}_proj" for part in "qkv"]
    assert open_clip_names(f"{front}transformer.resblocks.7.attn.in_proj") == three
    assert open_clip_names("text_encoders.clip_l.transformer.text_model.x")[0].endswith("_model.x")
    assert open_clip_names("diffusion_model.img_in") == ["diffusion_model.img_in"]
