"""The blocks that are chosen, and what is said of them."""

import sys

import pytest

from core import MismatchError, analyze_lora, choose_blocks
from tests.core.six_layers import sample
from tests.helpers import lora_file


def test_an_analysis_saves_measuring_again(monkeypatch):
    table = analyze_lora(sample(), statistics="spectral")
    monkeypatch.setattr(sys.modules[choose_blocks.__module__], "analyze_lora", None)
    choice = choose_blocks(sample(), 0.7, "energy", analysis=table)
    assert choice.blocks == ("double_blocks.1",)
    assert choice.text[0].startswith("70 % of the energy sits in 1 of 4 blocks")


def test_an_analysis_of_another_lora_is_refused():
    """Another file's, a part of this one's, and one of a LoRA with the same layers."""
    whole = analyze_lora(sample(), statistics="norms")
    part = {key: tensor for key, tensor in sample().items() if "single" not in key}
    scaled = {key: tensor * (1.1 if "lora_B" in key else 1) for key, tensor in sample().items()}
    for source, table, words in (
        (sample(), analyze_lora(part, statistics="norms"), "has 5 of its 6 layers: it is of"),
        (part, whole, "has 5 of its 5 layers and others, such as single_blocks.1.linear2"),
        (scaled, whole, "module double_blocks.0.img_attn.proj: the analysis is of another LoRA"),
    ):
        with pytest.raises(MismatchError, match=words):
            choose_blocks(source, analysis=table)
    assert choose_blocks(sample(), analysis=whole).blocks == choose_blocks(sample()).blocks


def test_the_selector_is_in_the_order_of_the_network_and_short():
    names = [f"diffusion_model.double_blocks.{i}.img_attn.proj" for i in (0, 1, 2, 7, 8, 12)]
    choice = choose_blocks(lora_file([*names, "diffusion_model.single_blocks.3.linear2"]), 1.0)
    assert (
        choice.selector == "double_blocks.0-2, double_blocks.7-8, double_blocks.12, single_blocks.3"
    )
