"""One module's tensors as they are stored: what is no number is found."""

import pytest
import torch

from core.adapters.adapter import finite


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float16])
def test_tensors_of_few_bits_are_searched_for_what_is_no_number(dtype):
    tensor = torch.full((20, 20), 400.0)  # In float16 their sum overflows.
    assert finite(tensor.to(dtype))
    tensor[3, 4] = float("nan")
    assert not finite(tensor.to(dtype))
