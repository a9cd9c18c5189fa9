"""What a file holds, in lines and as JSON."""

import json

import pytest

from core import StateDict
from core.insight.info import blocks, describe, summary
from core.reading.lora import Lora
from tests.helpers import KOHYA, lora_file, randn

NAMES = [f"lora_unet_double_blocks_{i}_img_attn_proj" for i in (0, 1)]
FIRST = lora_file(NAMES, KOHYA, alpha=2.0) | {"table": randn((3,))}
SECOND = lora_file([NAMES[1], "lora_unet_single_blocks_3_linear2"], KOHYA, rank=6)


def test_info_counts_what_is_in_a_file():
    tensors = StateDict(FIRST | SECOND | {NAMES[0] + ".diff_b": randn((16,))})
    tensors.metadata = {"ss_output_name": "mine", "secret": "not shown"}
    text = "\n".join(summary(Lora(tensors)))
    for words in ("Flux", "modules: 4", "LoRA (3), bias (1)", "ss_output_name: mine"):
        assert words in text
    assert "other tensors: 1, for example table" in text and "secret" not in text
    assert blocks(Lora(tensors)) == "double_blocks (2), single_blocks (1)"
    assert json.loads(json.dumps(describe(Lora(tensors))))["spelling"] == "kohya"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 5000 + "]" * 5000])
def test_metadata_of_any_depth_can_be_opened(text):
    tensors = StateDict(lora_file("x"), {"lora_adapter_metadata": text, "lora_alloy": text})
    assert any(line.endswith(text) for line in summary(Lora(tensors)))
