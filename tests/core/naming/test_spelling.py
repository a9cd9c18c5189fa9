"""One raw name at a time: prefixes, meanings, spellings, and which of two names counts.

Also of precedence.py: the same names, in ComfyUI's order.
"""

# ruff: noqa: E501 - one name, one line

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core import Lora, LoraError, StateDict
from core.naming.catalogue import FAMILIES
from core.naming.family import UNKNOWN, flatten
from core.naming.precedence import is_read, precedence
from core.naming.spelling import (
    DIFFUSERS,
    GENERIC,
    KOHYA,
    resolve,
    spell,
    split_prefix,
    standard_spelling,
)
from tests import helpers
from tests.helpers import lora, randn

FAMILY = {family.name: family for family in FAMILIES}


@pytest.mark.parametrize(
    "raw, prefix",
    [
        ("lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_"),
        ("diffusion_model.blocks.0.self_attn.q", "diffusion_model."),
        ("transformer.transformer_blocks.0.attn.to_q", "transformer."),
        ("lora_transformer_transformer_blocks_0_attn_to_q", "lora_transformer_"),
        ("lycoris_layers_14_attention_to_k", "lycoris_"),
        ("base_model.model.blocks.0.attn.qkv", "base_model.model."),
        ("unet.base_model.model.blocks.0", "unet.base_model.model."),
        ("base_model.model.diffusion_model.blocks.0", "base_model.model.diffusion_model."),
        ("transformer_blocks.0.attn.to_q", ""),
        ("lora_te_text_model_encoder", "lora_te_"),
        ("lora_te3_encoder_block_0", "lora_te3_"),
        ("text_encoder_2.text_model", "text_encoder_2."),
        ("text_encoders.clip_l.transformer.text_model", "text_encoders."),
        # What looks like a second prefix is part of the model.
        ("diffusion_model.transformer.layers.0.to_q", "diffusion_model."),
        ("lora_unet_transformer_layers_0_to_q", "lora_unet_"),
        ("lycoris_unet.x", "lycoris_"),
    ],
)
def test_prefixes(raw, prefix):
    assert split_prefix(raw) == (prefix, raw[len(prefix) :])


@pytest.mark.parametrize(
    "family, raw, canonical",
    [
        ("Flux", "transformer.transformer_blocks.7.attn.add_k_proj", "double_blocks.7.txt_attn.qkv.k"),
        ("Flux", "lora_transformer_single_transformer_blocks_3_proj_mlp", "single_blocks.3.linear1.mlp"),
        ("Flux", "diffusion_model.single_blocks.3.linear1_qkv", "single_blocks.3.linear1.qkv"),
        ("Flux", "lycoris_transformer_blocks_0_ff_linear_in", "double_blocks.0.img_mlp.0"),
        ("Flux.2", "transformer.single_transformer_blocks.1.attn.to_qkv_mlp_proj", "single_blocks.1.linear1"),
        ("Flux.2", "transformer.single_transformer_blocks.1.attn.to_k", "single_blocks.1.linear1.k"),
        ("HunyuanVideo", "transformer.double_blocks.0.txt_mlp.fc2", "double_blocks.0.txt_mlp.2"),
        ("SD3", "lora_unet_joint_blocks_9_x_block_attn2_qkv", "joint_blocks.9.x_block.attn2.qkv"),
        ("Wan", "diffusion_model.blocks.0.cross_attn.k_img", "blocks.0.cross_attn.k_img"),
        ("Wan", "transformer.blocks.0.attn2.add_v_proj", "blocks.0.cross_attn.v_img"),
        ("Wan", "transformer.condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1"),
        ("Wan", "lora_unet_vace_blocks_0_before_proj", "vace_blocks.0.before_proj"),
        ("Z-Image", "lycoris_layers_14_attention_to_k", "layers.14.attention.qkv.k"),
        ("PixArt", "transformer.transformer_blocks.5.attn2.to_v", "blocks.5.cross_attn.kv_linear.v"),
        ("AuraFlow", "transformer.joint_transformer_blocks.1.ff_context.linear_2", "double_layers.1.mlpC.c_fc2"),
        ("Krea 2", "diffusion_model.text_fusion.refiner_blocks.1.attn.to_out", "txtfusion.refiner_blocks.1.attn.wo"),
        ("SD1.5", "lora_unet_down_blocks_0_resnets_0_conv1", "input_blocks.1.0.in_layers.2"),
        ("SDXL", "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", "input_blocks.4.1.transformer_blocks.0.attn1.to_q"),
        ("ACE-Step 1.5", "base_model.model.layers.3.self_attn.q_proj", "decoder.layers.3.self_attn.q_proj"),
        ("CogVideoX", "transformer.transformer_blocks.3.attn1.to_out.0", "blocks.3.attn_out"),
        ("HiDream", "lycoris_double_stream_blocks_0_block_ff_i_experts_3_w1", "double_stream_blocks.0.block.ff_i.experts.3.w1"),
    ],
)  # fmt: skip
def test_meanings(family, raw, canonical):
    assert resolve(raw, FAMILY[family]).canonical == canonical


@pytest.mark.parametrize(
    "raw, canonical",
    [
        ("lora_te_text_model_encoder_layers_3_mlp_fc1", "clip_l.transformer.text_model.encoder.layers.3.mlp.fc1"),
        ("lora_te1_text_model_encoder_layers_3_mlp_fc1", "clip_l.transformer.text_model.encoder.layers.3.mlp.fc1"),
        ("text_encoder.text_model.encoder.layers.3.mlp.fc1", "clip_l.transformer.text_model.encoder.layers.3.mlp.fc1"),
        ("lora_te2_text_model_encoder_layers_3_self_attn_q_proj", "clip_g.transformer.text_model.encoder.layers.3.self_attn.q_proj"),
        ("text_encoder_2.text_model.encoder.layers.3.mlp.fc2", "clip_g.transformer.text_model.encoder.layers.3.mlp.fc2"),
        ("text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1", "clip_g.transformer.text_model.encoder.layers.0.mlp.fc1"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", "t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"),
        ("lora_te2_encoder_block_9_layer_1_DenseReluDense_wi_0", "t5xxl.transformer.encoder.block.9.layer.1.DenseReluDense.wi_0"),
        ("text_encoder_2.encoder.block.9.layer.1.DenseReluDense.wo", "t5xxl.transformer.encoder.block.9.layer.1.DenseReluDense.wo"),
        ("text_encoders.t5xxl.transformer.encoder.block.9.layer.1.layer_norm", "t5xxl.transformer.encoder.block.9.layer.1.layer_norm"),
        ("text_encoders.transformer.encoder.block.0.layer.0.SelfAttention.q", "t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"),
        ("text_encoders.qwen25_7b.transformer.model.layers.0.self_attn.q_proj", "language_model.transformer.model.layers.0.self_attn.q_proj"),
        ("text_encoders.transformer.model.layers.0.self_attn.q_proj", "language_model.transformer.model.layers.0.self_attn.q_proj"),
        ("lora_te_layers_0_self_attn_q_proj", "language_model.transformer.model.layers.0.self_attn.q_proj"),
    ],
)  # fmt: skip
def test_text_encoders(raw, canonical):
    assert resolve(raw, UNKNOWN).canonical == canonical


@pytest.mark.parametrize(
    "family, encoder, spelling, raw",
    [
        ("SD1.5", "clip_l", KOHYA, "lora_te_text_model_encoder_layers_0_mlp_fc1"),
        ("SDXL", "clip_l", KOHYA, "lora_te1_text_model_encoder_layers_0_mlp_fc1"),
        ("SDXL", "clip_g", KOHYA, "lora_te2_text_model_encoder_layers_0_mlp_fc1"),
        ("SDXL", "clip_l", DIFFUSERS, "text_encoder.text_model.encoder.layers.0.mlp.fc1"),
        ("SDXL", "clip_g", DIFFUSERS, "text_encoder_2.text_model.encoder.layers.0.mlp.fc1"),
        ("SDXL", "clip_g", GENERIC, "text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1"),
        ("Flux", "t5xxl", KOHYA, "lora_te3_encoder_block_0_layer_0_SelfAttention_q"),
        # Nothing reads T5 under diffusers names.
        ("Flux", "t5xxl", DIFFUSERS, "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"),
    ],
)  # fmt: skip
def test_text_encoders_are_spelled_as_comfyui_reads_them(family, encoder, spelling, raw):
    name = resolve(raw, FAMILY[family])
    assert name.encoder == encoder
    assert spell(name, standard_spelling(spelling, FAMILY[family]), FAMILY[family]) == raw


@pytest.mark.parametrize(
    "family, width, encoder",
    [("SD1.5", 768, "clip_l"), ("SD1.5", 1024, "clip_h"), ("SDXL refiner", 1280, "clip_g")],
)
def test_the_only_text_encoder_of_a_model_is_told_by_its_width(family, width, encoder):
    body = "text_model.encoder.layers.0.mlp.fc1"
    names = {
        KOHYA: "lora_te_" + flatten(body),
        DIFFUSERS: f"text_encoder.{body}",
        GENERIC: f"text_encoders.{encoder}.transformer.{body}",
    }
    for raw in names.values():
        name = resolve(raw, FAMILY[family], (4 * width, width))
        assert name.encoder == encoder
        for spelling, wanted in names.items():
            style = standard_spelling(spelling, FAMILY[family])
            assert spell(name, style, FAMILY[family]) == wanted


@pytest.mark.parametrize("spelling", [KOHYA, DIFFUSERS, GENERIC])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_what_is_spelled_means_the_same(family, spelling):
    style = standard_spelling(spelling, family)
    for native, row in family.rows.items():
        for part in range(len(row.parts)):
            name = resolve("diffusion_model." + native.replace("#", "2"), family)
            name = name._replace(first=part, last=part + 1) if len(row.parts) > 1 else name
            for wanted in (name, name._replace(first=0, last=len(row.parts))):
                raw = spell(wanted, style, family)
                if raw is not None:
                    assert resolve(raw, family).part == wanted, raw


@given(st.text("abc_.0123456789", min_size=1, max_size=20), st.sampled_from([UNKNOWN, *FAMILIES]))
def test_any_name_resolves_and_spellings_that_differ_in_separators_are_one(path, family):
    name = resolve("diffusion_model." + path, family)
    assert name.canonical
    flat = resolve("lora_unet_" + flatten(path), family)
    assert flat.weight.replace(".", "_") == name.weight.replace(".", "_")
    assert resolve(path, UNKNOWN).canonical


# -- one weight under two names in one file -------------------------------------------------------


@pytest.mark.parametrize(
    "family, loser, winner",
    [
        ("Flux", "lora_unet_double_blocks_0_img_attn_proj", "diffusion_model.double_blocks.0.img_attn.proj"),
        ("Flux", "diffusion_model.double_blocks.0.img_attn.proj", "transformer.transformer_blocks.0.attn.to_out.0"),
        ("Flux", "transformer.transformer_blocks.0.attn.to_q", "lycoris_transformer_blocks_0_attn_to_q"),
        ("Flux", "lycoris_transformer_blocks_0_attn_to_q", "lora_transformer_transformer_blocks_0_attn_to_q"),
        ("Flux", "lora_transformer_transformer_blocks_0_attn_to_q", "transformer_blocks.0.attn.to_q"),
        ("Qwen-Image", "transformer_blocks.0.attn.to_q", "transformer.transformer_blocks.0.attn.to_q"),
        ("Qwen-Image", "diffusion_model.transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_q"),
        ("SD3", "transformer.transformer_blocks.0.attn.to_q", "base_model.model.transformer_blocks.0.attn.to_q"),
        ("HiDream", "lycoris_x_embedder_proj", "transformer.x_embedder.proj"),
        ("SD1.5", "lora_unet_input_blocks_1_1_proj_in", "lora_unet_down_blocks_0_attentions_0_proj_in"),
        ("SD1.5", "diffusion_model.input_blocks.1.1.proj_in", "lora_unet_down_blocks_0_attentions_0_proj_in"),
        ("SD1.5", "down_blocks.0.attentions.0.proj_in", "unet.down_blocks.0.attentions.0.proj_in"),
        # A name that ComfyUI does not read never wins.
        ("Wan", "transformer.blocks.0.attn1.to_q", "lora_unet_blocks_0_self_attn_q"),
        ("Flux", "transformer.double_blocks.0.img_attn.proj", "lora_unet_double_blocks_0_img_attn_proj"),
        ("SD1.5", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
         "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"),
        ("SDXL", "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1", "lora_te1_text_model_encoder_layers_0_mlp_fc1"),
        ("SDXL", "lora_te1_text_model_encoder_layers_0_mlp_fc1", "text_encoder.text_model.encoder.layers.0.mlp.fc1"),
    ],
)  # fmt: skip
def test_of_two_names_comfyuis_later_one_counts_wherever_it_stands(family, loser, winner):
    assert precedence(loser, FAMILY[family]) < precedence(winner, FAMILY[family])
    one, two = lora(loser, (8, 8), 2, seed=1), lora(winner, (8, 8), 2, seed=2)
    for tensors in (one | two, two | one):
        read = Lora(StateDict(tensors), prefer=FAMILY[family])
        assert [m.raw for m in read.modules.values()] == [winner]
        assert sorted(read.shadowed) == sorted(one)
        assert f"stored twice; ComfyUI reads {winner}" in read.shadowed[next(iter(one))]


def test_a_fused_weight_and_a_part_of_it_add_up_as_in_comfyui():
    from core import Output, convert, select

    whole = lora("lora_unet_double_blocks_0_img_attn_qkv", (12, 4), 2, helpers.KOHYA, 2.0)
    part = lora("transformer.transformer_blocks.0.attn.to_k", (4, 4), 1)
    exact = helpers.dense(whole)["lora_unet_double_blocks_0_img_attn_qkv"].clone()
    exact[4:8] += helpers.dense(part)["transformer.transformer_blocks.0.attn.to_k"]
    for edited in (
        select(StateDict(whole | part), "")[0],
        convert(StateDict(part | whole), Output(spelling=KOHYA)),
    ):
        (written,) = helpers.dense(edited.lora).values()
        assert helpers.error(written, exact) < 1e-6


def test_both_orders_of_a_weights_halves_add_up_as_in_comfyui():
    from core import select

    native = lora("lora_unet_final_layer_adaLN_modulation_1", (8, 4), 2, helpers.KOHYA, 2.0)
    swapped = lora("transformer.norm_out.linear", (8, 4), 2)
    read = Lora(StateDict(native | swapped))
    assert len(read.modules) == 2 and not read.shadowed
    (written,) = helpers.dense(select(read, "")[0].lora).values()
    exact = sum(helpers.dense(native).values()) + sum(helpers.dense(swapped).values()).roll(4, 0)
    assert helpers.error(written, exact) < 1e-6


@pytest.mark.parametrize(
    "raw", ["transformer.transformer_blocks.0.attn.to_q", "transformer.norm_out.linear"]
)
def test_a_bias_of_a_part_or_of_swapped_halves_does_not_count_as_in_comfyui(raw):
    bias = {f"{raw}.diff_b": randn((8,))}
    read = Lora(StateDict(lora(raw, (8, 4), 2) | bias))
    assert [m.parameter for m in read.modules.values()] == ["weight"]
    assert "only under the name of the whole weight" in read.shadowed[f"{raw}.diff_b"]
    with pytest.raises(LoraError, match="nothing in it that ComfyUI applies"):
        Lora(StateDict(bias))


def test_a_bias_of_a_whole_weight_keeps_its_name_when_the_weight_is_split():
    from core import Output, convert

    raw = "diffusion_model.double_blocks.0.img_attn.qkv"
    written = convert(
        StateDict(lora(raw, (12, 4), 2) | {f"{raw}.diff_b": torch.ones(12)}),
        Output(spelling=DIFFUSERS),
    ).lora
    assert torch.equal(written[f"{raw}.diff_b"], torch.ones(12))
    assert sum("attn.to_" in key for key in written) == 6


@pytest.mark.parametrize(
    "raw, read",
    [
        ("text_encoder_2.encoder.block.9.layer.1.DenseReluDense.wo", False),
        ("lora_te3_encoder_block_9_layer_1_DenseReluDense_wo", True),
        ("lora_te1_text_model_encoder_layers_0_layer_norm1", False),
        ("text_encoders.clip_l.transformer.text_model.encoder.layers.0.layer_norm1", True),
    ],
)
def test_names_of_text_encoders_that_comfyui_does_not_read_are_said(raw, read):
    file = StateDict(
        lora("lora_unet_single_blocks_0_linear1", (56, 8)) | {f"{raw}.diff": randn((8,))}
    )
    assert is_read(raw, UNKNOWN) == read
    assert any(raw in note for note in Lora(file).notes) != read


def test_names_that_comfyui_does_not_read_are_said():
    names = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    (note,) = Lora(StateDict(lora(names, (8, 4), 2))).notes
    assert names in note and "1 of 1 modules" in note and "spelling generic" in note
    assert Lora(StateDict(lora("unet.down_blocks.0.resnets.0.conv1", (8, 4), 2))).notes == []


def test_comfyuis_names_of_a_text_projection_are_its_own():
    sdxl = FAMILY["SDXL"]
    name = resolve("lora_te2_text_projection", sdxl, (1280, 1280))
    assert name.weight == "clip_g.transformer.text_projection"
    assert [
        spell(name, standard_spelling(spelling, sdxl), sdxl)
        for spelling in (KOHYA, DIFFUSERS, GENERIC)
    ] == [
        "lora_te2_text_projection",
        "text_encoder_2.text_projection",
        "text_encoders.clip_g.transformer.text_projection",
    ]
    assert is_read("lora_te2_text_projection", sdxl)
    assert is_read("text_encoders.clip_g.transformer.text_projection", sdxl)
    assert not is_read("text_encoder_2.text_projection", sdxl)
    assert not is_read("lora_te_text_projection", sdxl)
