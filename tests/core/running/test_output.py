"""What an output can be asked for: the dtype that is written; words that are not known."""

import pytest
import torch

from core import Blend, LoraError, Output, blend
from tests.helpers import KOHYA, assert_close, dense, lora, lora_file, randn, weighted

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ROUNDING = {"fp32": 1e-6, "fp16": 2e-3, "bf16": 1.5e-2}


@pytest.mark.parametrize("stored", DTYPES.values(), ids=str)
@pytest.mark.parametrize("wanted", ["match", *DTYPES])
def test_the_output_dtype_is_the_one_asked_for(stored, wanted):
    first = lora_file("ab", KOHYA, alpha=2.0, dtype=stored)
    second = lora_file("abc", dtype=torch.float32, seed=1) | {"c.diff_b": randn((16,))}
    result = blend(first, second, Blend((0.5, -1.0), "full"), Output(dtype=wanted)).lora
    expected = stored if wanted == "match" else DTYPES[wanted]
    assert {t.dtype for k, t in result.items() if not k.endswith(".alpha")} == {expected}
    name = next(name for name, dtype in DTYPES.items() if dtype == expected)
    assert_close(dense(result), weighted(first, second, 0.5, -1.0), ROUNDING[name])


def test_match_takes_the_dtype_of_most_bytes():
    first = lora("large", (64, 64), dtype=torch.float16) | lora("small", dtype=torch.float32)
    assert blend(first, None, Blend((0.5,))).lora["small.lora_A.weight"].dtype == torch.float16
    first = lora("x", dtype=torch.float64)
    assert blend(first, None, Blend((0.5,))).lora["x.lora_A.weight"].dtype == torch.float32


def test_match_never_means_whole_numbers():
    first = lora("x") | {"y.diff": torch.ones(99, 99, dtype=torch.int32)}
    result = blend(first, None, Blend((0.5,), "full")).lora
    assert_close(dense(result), {"x": 0.5 * dense(first)["x"], "y": torch.full((99, 99), 0.5)})


@pytest.mark.parametrize("settings", [{"dtype": "fp8"}, {"spelling": "morse"}], ids=str)
def test_words_that_are_not_known_are_refused(settings):
    with pytest.raises(LoraError, match="unknown; choose one of match"):
        Output(**settings)
