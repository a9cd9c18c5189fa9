"""Numbers in the dtype that is written: its limits, and how much rounding costs."""

import pytest
import torch

from core import Blend, Compute, LoraError, Output, RankRule, blend, convert, resize, select
from tests.helpers import dense, error, files_in, lora, weighted

FULL = Blend(rank="full")
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ROUNDING = {"fp32": 1e-6, "fp16": 2e-3, "bf16": 1.5e-2}


@pytest.mark.parametrize("size", [1e-8, 1e-4, 1.0, 1e4, 1e8])
@pytest.mark.parametrize("factors", [(1.0, 1.0), (1e4, 1e-4), (1e-4, 1e4)], ids=str)
def test_fp16_holds_large_and_tiny_singular_values(size, factors):
    # sqrt(sigma) goes to each side, so that both stay in fp16's range as long as possible.
    first = lora("x", (32, 32))
    first["x.lora_B.weight"] *= factors[0] * size
    first["x.lora_A.weight"] *= factors[1]
    second = {k: t * 1e-3 for k, t in lora("x", (32, 32), seed=1).items()}
    for rank in ("full", 8):
        result = blend(first, second, Blend((1.0, size), rank), Output(dtype="fp16")).lora
        assert error(dense(result)["x"], weighted(first, second, 1, size)["x"]) < 3e-3


@pytest.mark.parametrize("dtype, noted", [("fp16", True), ("bf16", False), ("fp32", False)])
def test_what_fp16_cannot_hold_any_more_is_said(dtype, noted):
    first = lora("ok") | {key: t * 1e-7 for key, t in lora("faint", seed=1).items()}
    for edit in (convert, lambda *a: blend(a[0], None, FULL, a[1])):
        notes = edit(first, Output(dtype=dtype)).report.notes
        assert any("1 modules hold numbers too small" in note for note in notes) == noted
        assert any("rounding moves faint by" in note for note in notes) == noted
    # A file that is in fp16 already loses nothing by being copied.
    half = {key: t.half() for key, t in first.items()}
    assert not select(half, "*")[0].report.notes


@pytest.mark.parametrize("dtype, size", [("fp16", 1e6), ("bf16", 1e39), ("fp32", 1e39)])
def test_what_the_dtype_cannot_hold_is_refused_by_tensor(tmp_path, dtype, size):
    first = {"x.diff": torch.full((4, 4), size, dtype=torch.float64)} | lora("y")
    path = tmp_path / "out.safetensors"
    compute = Compute(dtype=torch.float64)
    for settings in (Blend(rank="full"), Blend((0.5,), "full")):
        with pytest.raises(LoraError, match=rf"x\.diff: has an entry .* for b?float{dtype[-2:]}"):
            blend(first, None, settings, Output(path, dtype), compute)
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("dtype", DTYPES)
def test_copied_modules_are_cast_too(dtype):
    first = lora("a", rank=2, alpha=1.0) | lora("b", rank=8)
    result = resize(first, RankRule("rank", 4), output=Output(dtype=dtype)).lora
    assert {t.dtype for k, t in result.items() if not k.endswith(".alpha")} == {DTYPES[dtype]}
    assert error(dense(result)["a"], dense(first)["a"]) < ROUNDING[dtype]
