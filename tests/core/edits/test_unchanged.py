"""What an edit does not change is copied to the bit."""

import pytest
import torch

from core import Output
from tests.every_edit import UNTOUCHED
from tests.helpers import KOHYA, StateDict, lora, lora_file, randn, same_bits, save


@pytest.mark.parametrize("edit", UNTOUCHED)
def test_a_file_that_is_written_again_stays_what_it_is(tmp_path, edit):
    tensors = lora_file("ab", KOHYA, alpha=3.0, dtype=torch.bfloat16)
    tensors |= {"a.diff_b": randn((16,)).bfloat16(), "unknown": torch.arange(5)}
    tensors |= lora("c", (6, 4, 3, 3), pair=KOHYA, mid=True, dtype=torch.bfloat16)
    metadata = {
        "ss_network_dim": "8",
        "ss_network_alpha": "3.0",
        "sshs_model_hash": "abc",
        "lora_adapter_metadata": "{}",
        "title": "x",
    }
    path = save(tensors, tmp_path / "in.safetensors", metadata)
    for output in (Output(), Output(tmp_path / "out.safetensors")):
        result = UNTOUCHED[edit](path, output)
        written = result.lora
        if output.path:
            from core.storage.files import open_tensors

            opened = open_tensors(written)
            written = StateDict({key: opened[key] for key in opened.info})
            written.metadata = opened.metadata
        assert same_bits(written, tensors)
        assert {k: v for k, v in written.metadata.items() if k != "lora_alloy"} == metadata
