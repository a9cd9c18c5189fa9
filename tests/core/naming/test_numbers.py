"""What a number in a name is: in names, selectors and block weights."""

import time

import pytest
import torch

from core import Blend, Lora, LoraError, Output, blend, choose_blocks, convert, select, top_blocks
from core.insight.info import describe
from core.naming.blocks import locate, network_order
from core.naming.numbers import number
from tests.helpers import lora, lora_file

STRANGE = ["\u00b2", "\u2460", "\u0663", "9" * 4400, "3" * 4299, "1\u00b2"]


@pytest.mark.parametrize("text, index", [("0", 0), ("007", 7), ("123456789", 123456789)])
def test_plain_digits_are_a_number(text, index):
    assert number(text) == index


@pytest.mark.parametrize("text", [*STRANGE, "", "-1", "1 ", "1\n", "+1", "1_0", "1234567890"])
def test_all_else_is_text(text):
    assert number(text) is None


@pytest.mark.parametrize(
    "name",
    ["diffusion_model.double_blocks.{}.img_attn.proj", "lora_unet_double_blocks_{}_img_mlp_0"],
)
@pytest.mark.parametrize("strange", STRANGE)
def test_names_with_other_numbers_are_read_and_kept(name, strange):
    state = lora(name.format(strange)) | lora(name.format(1), seed=2)
    assert describe(Lora(state))
    assert locate(Lora(state).modules[next(iter(Lora(state).modules))].canonical).block is None
    choice = choose_blocks(state)
    assert choice.blocks == ("double_blocks.1",)
    kept, _ = top_blocks(state, choice)
    assert kept.lora.keys() == state.keys()
    assert len(convert(state, Output(dtype="fp16")).report.modules) == 2


@pytest.mark.parametrize("strange", STRANGE)
def test_encoders_have_plain_numbers(strange):
    assert Lora(lora(f"lora_te{strange}_x") | lora(f"text_encoder_{strange}.x")).modules


@pytest.mark.parametrize("strange", STRANGE)
def test_ranges_have_plain_numbers(strange):
    state = lora_file(["diffusion_model.double_blocks.1.x", "diffusion_model.double_blocks.2.x"])
    for text in (f"double_blocks.1-{strange}", f"double_blocks.{strange}-9"):
        with pytest.raises(LoraError, match="matches no layer"):
            select(state, text)
        with pytest.raises(LoraError, match="matches no layer"):
            blend([state], settings=Blend(block_weights=f"{text}: 0.5"))
    assert len(select(state, "double_blocks.01-2")[0].lora) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "blocks." * 100_000,
        "blocks_" * 100_000,
        "a." * 100_000,
        "blocks.0" * 100_000,
        "0_" * 100_000,
    ],
)
def test_a_long_name_takes_no_longer_than_its_length(name):
    start = time.process_time()
    assert Lora(
        {f"{name}.lora_B.weight": torch.ones(2, 1), f"{name}.lora_A.weight": torch.ones(1, 2)}
    )
    place = locate(name)
    assert network_order(place.block or "")
    assert time.process_time() - start < 5
