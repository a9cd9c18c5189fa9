"""The benchmark's own checks, at small size: its results are right and its oracle would notice."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import core
from benchmarks.checks import require_optimal
from benchmarks.fights import WAYS, shares
from benchmarks.methods import method
from benchmarks.rows import WEIGHTS, Workshop, blend, compare, resize


@pytest.fixture
def shop(tmp_path):
    return Workshop(tmp_path, repeats=1, modules="double_blocks.0.img_attn.proj")


@pytest.mark.slow
@pytest.mark.parametrize("rank, target", [(32, 32), (128, 64)])
def test_blend_rows_are_optimal_and_have_a_floor(shop, rank, target):
    row = next(iter(blend(shop, "flux", rank, target)))
    assert row.details["floor"] > 0 and row.figure == pytest.approx(
        row.details["seconds"] / row.details["floor"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("rule", [("energy", 0.95), ("megabytes", 0.9)])
def test_resize_rows_are_optimal(shop, rule):
    assert next(iter(resize(shop, core.RankRule(*rule)))).figure > 0


@pytest.mark.slow
def test_the_oracle_notices_a_wrong_file(shop):
    inputs = [shop.file("flux", 8, "kohya"), shop.file("flux", 8, "generic", 1)]
    core.blend(*inputs, core.Blend(weights=WEIGHTS, rank=8), core.Output(shop.output))
    require_optimal(shop.output, inputs, WEIGHTS)
    tensors = {key: tensor.clone() for key, tensor in load_file(shop.output).items()}
    up = next(key for key in tensors if key.endswith("lora_up.weight"))
    tensors[up] = tensors[up] * torch.tensor(1.05, dtype=torch.bfloat16)
    save_file(tensors, shop.output)
    with pytest.raises(AssertionError, match="is possible"):
        require_optimal(shop.output, inputs, WEIGHTS)


@pytest.mark.slow
def test_rows_of_merging_measure_what_they_say(shop):
    four = next(iter(blend(shop, "flux", 8, 8, (0.7, 0.5, 0.3, -0.2))))
    assert four.name.endswith("rank 8 + 8 + 8 + 8 -> 8") and four.details["floor"] > 0
    ours, dense = method(shop, "ties")
    assert ours.details["error"] == pytest.approx(dense.details["error"])
    # Another way to the same matrix loses about as much.
    assert dense.details["of dense"] == pytest.approx(ours.details["error"], rel=0.02)
    assert next(iter(compare(shop))).figure > 0


@pytest.mark.slow
def test_the_table_of_merges_has_all_ways_and_what_a_lora_alone_gains():
    found = shares(0, steps=20)
    assert WAYS.keys() < found.keys()
    assert found["character alone"][0] == found["style alone"][1] == 1.0
