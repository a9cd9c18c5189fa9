"""What headers say of tensors, against torch; single numbers, against what it reads."""

import pytest
import torch

from core.storage.dtypes import CODES, STORED_DTYPES, TensorInfo
from core.storage.files import FileTensors
from tests.core.storage.written import write


@pytest.mark.parametrize("name", STORED_DTYPES.values())
def test_a_number_of_every_dtype(name, tmp_path):
    tensor = torch.tensor([-2.0 if "u" not in name and name != "bool" else 1.0])
    tensor = tensor.to(getattr(torch, name))
    info = TensorInfo.of(tensor)
    assert (info.dtype, info.shape) == (tensor.dtype, (1,))
    assert info.item_bytes == tensor.dtype.itemsize
    assert info.floating == tensor.dtype.is_floating_point
    path = tmp_path / "a.safetensors"
    write({"alpha": tensor, "two": torch.cat([tensor, tensor])}, path)
    assert FileTensors(path).number("alpha") == float(tensor.float())
    assert FileTensors(path).number("two") is None
    assert set(CODES) < set(STORED_DTYPES.values())
