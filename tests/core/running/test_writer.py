"""The writer: a state dict or a file, and the sizes that the report tells."""

import torch

from core import Blend, Output, blend
from tests.helpers import KOHYA, lora, lora_file

FULL = Blend(rank="full")


def test_sizes_in_the_report_are_those_of_the_tensors(tmp_path):
    path = tmp_path / "out.safetensors"
    first = lora_file("ab", KOHYA, alpha=1.0) | {"other": torch.ones(7)}
    result = blend(first, lora("a", seed=1), FULL, Output(path))

    assert result.report.output_bytes == path.stat().st_size
    assert result.report.inputs[0]["bytes"] == sum(t.nbytes for t in first.values())
    assert result.lora == path.resolve() and result.report.output == str(path)
