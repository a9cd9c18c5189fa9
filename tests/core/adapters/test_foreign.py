"""Kinds that nobody here knows are called by their names."""

import pytest
import torch

from core import Lora, LoraError
from tests.helpers import lora


@pytest.mark.parametrize(
    "key, kind",
    [
        ("lora_unet_x.on_input", "IA3"),
        ("base_model.model.x.ia3_l", "IA3"),
        ("transformer.x.oft_R.weight", "OFT"),
        ("base_model.model.x.vera_lambda_b", "VeRA"),
        ("base_model.model.x.fourierft_spectrum", "FourierFT"),
    ],
)
def test_a_foreign_kind_is_named(key, kind):
    with pytest.raises(LoraError, match=f"holds {kind}.*, which ComfyUI does not read"):
        Lora({key: torch.ones(3)})
    (reason,) = Lora({key: torch.ones(3)} | lora("y")).other.values()
    assert reason.startswith(f"part of a kind that ComfyUI does not read: {kind}")


def test_what_is_no_kind_at_all_is_not_named():
    with pytest.raises(LoraError, match="no LoRA tensors in it"):
        Lora({"model.x.weight": torch.ones(3)})
