"""Who finds a module: ComfyUI, diffusers and A1111, each under its own names.

Also of notes.py: what is said of names that nobody reads.
"""

# ruff: noqa: E501 - one name, one line

import pytest
import torch

from core import Lora
from core.reading.readers import READERS
from tests.helpers import KOHYA, PEFT, lora, randn

UNET = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
FLUX = "transformer.transformer_blocks.{}.attn.add_q_proj"
# A name and how it is stored -> who finds it.
FOUND = {
    "kohya's of a UNet": (lora("lora_unet_" + UNET.replace(".", "_"), pair=KOHYA), "cda"),
    "kohya's of a CLIP": (lora("lora_te_text_model_encoder_layers_0_mlp_fc1", pair=KOHYA), "cda"),
    "diffusers' of a UNet": (lora(f"unet.{UNET}", pair=PEFT), "d"),
    "diffusers' old ones": (lora("unet." + UNET.replace("attn1.", "attn1.processor.")), "cd"),
    "diffusers' of Flux": (lora(FLUX.format(0), (3072, 3072)), "cd"),
    "ComfyUI's of Flux": (lora("diffusion_model.double_blocks.0.txt_attn.qkv", (9216, 3072)), "c"),
    "kohya's of Flux": (lora("lora_unet_double_blocks_0_txt_attn_qkv", (9216, 3072), pair=KOHYA), "c"),
    "an alpha that diffusers refuses": (lora(FLUX.format(0), (3072, 3072), alpha=2.0), "c"),
    "no name of a Krea 2": (lora("transformer.transformer_blocks.0.attn.to_qkv"), ""),
    "a name of no table": (lora("some.where"), "cd"),
    "a text encoder of nobody": (lora("lora_te1_layers_0_self_attn_q_proj"), ""),
}  # fmt: skip


@pytest.mark.parametrize("what", FOUND)
def test_a_reader_finds_its_names(what):
    tensors, letters = FOUND[what]
    if "Krea 2" in what:
        tensors = tensors | {
            key: tensor
            for block in range(28)
            for key, tensor in lora(
                f"transformer.transformer_blocks.{block}.attn.to_gate", (6144, 6144), 1
            ).items()
        }
    found = next(m for m in Lora(tensors).modules.values() if m.raw in next(iter(tensors)))
    assert {reader[0] for reader in READERS if found.found_by(reader)} == set(letters)


def test_a_bias_of_peft_is_not_comfyuis():
    raw = "transformer.transformer_blocks.0.attn.to_out.0"
    peft = lora(raw, (3072, 3072)) | {f"{raw}.lora_B.bias": randn((3072,))}
    comfyui = lora(raw, (3072, 3072)) | {f"{raw}.diff_b": randn((3072,))}
    for tensors, reader, other in (
        (peft, "diffusers", "comfyui"),
        (comfyui, "comfyui", "diffusers"),
    ):
        module = next(m for m in Lora(tensors).modules.values() if m.parameter == "bias")
        assert module.found_by(reader) and not module.found_by(other)


def test_the_note_says_what_comfyui_leaves_out_and_who_reads_it():
    (note,) = Lora(lora("lora_te1_layers_0_self_attn_q_proj")).notes
    assert note.startswith(
        "ComfyUI has no names like lora_te1_layers_0_self_attn_q_proj, for 1 of 1"
    )
    assert note.endswith("the spelling generic writes names that it reads")
    raw = "transformer.transformer_blocks.0.attn.to_out.0"
    tensors = lora(raw, (3072, 3072)) | {f"{raw}.lora_B.bias": randn((3072,))}
    assert any(f"{raw}.lora_B.bias, for 1 of 2" in note for note in Lora(tensors).notes)
    unknown = lora("transformer.transformer_blocks.0.attn.to_qkv") | {
        key: torch.ones_like(tensor)
        for block in range(28)
        for key, tensor in lora(
            f"transformer.transformer_blocks.{block}.attn.to_gate", (6144, 6144), 1
        ).items()
    }
    (note,) = Lora(unknown).notes
    assert note.endswith("here they count")
