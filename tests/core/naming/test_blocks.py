"""Blocks: the outer container with its number, the same under every spelling."""

import pytest

from benchmarks.modules import select
from core.naming.blocks import LAYER_TYPES, TEXT_ENCODER, container_of, locate, network_order
from core.naming.recognition import recognise
from core.naming.spelling import resolve


@pytest.mark.parametrize(
    ("canonical", "block", "kind"),
    [
        ("double_blocks.3.img_attn.qkv", "double_blocks.3", "attention q, k, v"),
        ("double_blocks.3.txt_attn.qkv.k", "double_blocks.3", "attention k"),
        ("double_blocks.13.txt_mod.lin", "double_blocks.13", "modulation"),
        ("double_blocks.0.img_attn.norm.query_norm", "double_blocks.0", "norm"),
        ("single_blocks.3.linear1", "single_blocks.3", "q, k, v, mlp"),
        ("single_blocks.3.linear1.mlp", "single_blocks.3", "mlp"),
        ("single_blocks.3.linear1.q", "single_blocks.3", "attention q"),
        ("single_blocks.3.linear2", "single_blocks.3", "out, mlp"),
        ("transformer_blocks.9.txt_mod.1", "transformer_blocks.9", "modulation"),
        ("transformer_blocks.9.attn.add_q_proj", "transformer_blocks.9", "attention q"),
        ("transformer_blocks.9.attn.to_out.0", "transformer_blocks.9", "attention out"),
        ("transformer_blocks.9.img_mlp.net.0.proj", "transformer_blocks.9", "mlp"),
        ("blocks.7.cross_attn.o", "blocks.7", "attention out"),
        ("blocks.7.cross_attn.k_img", "blocks.7", "attention k"),
        ("blocks.7.ffn.0.bias", "blocks.7", "mlp"),
        ("layers.14.attention.qkv.v", "layers.14", "attention v"),
        ("noise_refiner.1.attention.out", "noise_refiner.1", "attention out"),
        ("joint_blocks.2.x_block.adaLN_modulation.1", "joint_blocks.2", "modulation"),
        ("input_blocks.4.1.transformer_blocks.0.attn1.to_q", "input_blocks.4", "attention q"),
        ("input_blocks.4.0.in_layers.2", "input_blocks.4", "convolution"),
        ("output_blocks.5.1.proj_in", "output_blocks.5", "projection"),
        ("middle_block.1.transformer_blocks.9.ff.net.2", "middle_block", "mlp"),
        ("down_blocks.1.attentions.0.proj_out", "down_blocks.1", "projection"),
        ("model.language_model.layers.5.mlp.up", "model.language_model.layers.5", "mlp"),
        ("blocks.0_attn_q_proj", "blocks.0", "attention q"),  # kohya's, of an unknown model
        ("final_layer.adaLN_modulation.1", None, "modulation"),
        ("time_embed.0", None, "other"),
        ("out.2", None, "other"),
        ("text_embedding.0", None, "other"),
    ],
)
def test_a_module_of_the_diffusion_model(canonical, block, kind):
    place = locate(canonical)
    assert (place.component, place.block, place.layer_type) == ("diffusion model", block, kind)
    assert place.prefix == block
    assert place.layer_type in LAYER_TYPES


@pytest.mark.parametrize(
    ("canonical", "block"),
    [
        ("clip_l.transformer.text_model.encoder.layers.3.mlp.fc1", "clip_l.encoder.layers.3"),
        (
            "clip_g.transformer.text_model.encoder.layers.30.self_attn.q_proj",
            "clip_g.encoder.layers.30",
        ),
        ("t5xxl.transformer.encoder.block.11.layer.0.SelfAttention.q", "t5xxl.encoder.block.11"),
        ("clip_l.transformer.text_projection", None),
    ],
)
def test_text_encoders_are_a_component_of_their_own(canonical, block):
    place = locate(canonical)
    assert (place.component, place.block) == (TEXT_ENCODER, block)
    if block:
        assert canonical.startswith(place.prefix + ".")
        assert place.prefix.endswith(block.split(".", 1)[1])


def test_numbers_are_whole():
    assert locate("transformer_blocks.1.attn").block != locate("transformer_blocks.10.attn").block
    assert container_of("double_blocks.3") == "double_blocks"
    assert container_of("clip_l.encoder.layers.11") == "clip_l.encoder.layers"
    assert container_of("middle_block") == "middle_block"


def test_network_order():
    blocks = [
        "t5xxl.encoder.block.0",
        "single_blocks.2",
        "single_blocks.10",
        "output_blocks.0",
        "clip_l.encoder.layers.0",
        "middle_block",
        "double_blocks.7",
        "input_blocks.11",
        "input_blocks.2",
        "layers.0",
        "noise_refiner.1",
    ]
    assert sorted(blocks, key=network_order) == [
        "noise_refiner.1",
        "input_blocks.2",
        "input_blocks.11",
        "middle_block",
        "output_blocks.0",
        "double_blocks.7",
        "single_blocks.2",
        "single_blocks.10",
        "layers.0",
        "clip_l.encoder.layers.0",
        "t5xxl.encoder.block.0",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "blocks"),
    [
        ("flux", 19 + 38),
        ("qwen-image", 60),
        ("wan2.1-14b", 40),
        ("z-image", 30 + 2 + 2),
        ("sdxl", 4 + 1 + 6 + 12 + 32),
        ("sd1.5", 6 + 1 + 9 + 12),
    ],
)
def test_the_blocks_of_full_size_files_are_those_of_the_model_under_every_spelling(family, blocks):
    spellings = (
        ("kohya", "generic") if family == "wan2.1-14b" else ("kohya", "generic", "diffusers")
    )
    found = []
    for spelling in spellings:
        modules = select(family, spelling, text_encoders=family.startswith("sd"))
        names = [module.name for module in modules]
        model = recognise({module.name: module.shape for module in modules}).family
        places = [locate(resolve(name, model).canonical) for name in names]
        assert all(place.block for place in places)
        assert "other" not in {place.layer_type for place in places}
        found.append({place.block for place in places})
    assert all(one == found[0] for one in found)
    assert len(found[0]) == blocks
