"""The blocks that are chosen, and what is said of them."""

import sys

from core import analyze_lora, choose_blocks
from tests.core.six_layers import sample


def test_an_analysis_saves_measuring_again(monkeypatch):
    table = analyze_lora(sample(), statistics="spectral")
    monkeypatch.setattr(sys.modules[choose_blocks.__module__], "analyze_lora", None)
    choice = choose_blocks(sample(), 0.7, "energy", analysis=table)
    assert choice.blocks == ("double_blocks.1",)
    assert choice.text[0].startswith("70 % of the energy sits in 1 of 4 blocks")
