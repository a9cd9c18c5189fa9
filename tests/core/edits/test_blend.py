"""Blend == w1 * dW1 + w2 * dW2, for every way to store a LoRA.

Also of mixture.py, parts.py, cutting.py, edit.py: a blend in parts, and what resize shares with it.
"""

import pytest
import torch

from core import Blend, LoraError, Output, blend
from tests.helpers import (
    FP8,
    KOHYA,
    PAIRS,
    PEFT,
    StateDict,
    assert_close,
    best_error,
    dense,
    error,
    lora,
    lora_file,
    randn,
    same_bits,
    save,
    weighted,
)
from tests.marks import one_in

FULL = {"rank": "full"}
SHAPES = {
    "linear": (16, 12),
    "conv 1x1": (10, 8, 1, 1),
    "conv 3x3": (8, 6, 3, 3),
    "conv 1-D": (6, 5, 3),
    "conv 3-D": (6, 4, 2, 3, 3),
}


def blended(first, second, w1=1.0, w2=1.0, output=Output(), **settings):  # noqa: B008 - frozen
    weights = (w1,) if second is None else (w1, w2)
    return blend(first, second, Blend(weights, **settings), output)


def mixed(pair, seed) -> dict[str, torch.Tensor]:
    """Every shape, another rank and alpha in each module."""
    result = {}
    for rank, (name, shape) in enumerate(SHAPES.items(), start=2):
        alpha = [None, 1.0, rank / 2][(rank + len(str(seed))) % 3]
        result |= lora("blocks.0." + name.replace(" ", "_"), shape, rank, pair, alpha, seed=seed)
    return result


@pytest.mark.parametrize("w1, w2", one_in(4, [(0.7, -1.3), (1.0, 1.0), (-0.5, 0.25), (1e-3, 40.0)]))
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_blend_of_everything_is_the_weighted_sum(pair, w1, w2):
    # The second file has the next suffix pair, other ranks and other alphas.
    first, second = mixed(pair, 1), mixed(PAIRS[PAIRS.index(pair) - 1], 22)
    second |= lora("blocks.0.linear", (16, 12), 7, PAIRS[PAIRS.index(pair) - 1], 3.0, seed=3)
    result = blended(first, second, w1, w2, **FULL)
    assert_close(dense(result.lora), weighted(first, second, w1, w2))
    assert result.report.matched == len(SHAPES) and result.report.relative_error == 0


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_truncation_reaches_the_eckart_young_error(name, rank):
    first = lora("x", SHAPES[name], 4, alpha=2.0, seed=1)
    second = lora("x", SHAPES[name], 3, seed=2)
    exact = weighted(first, second, 0.8, 0.6)["x"]
    result = blended(first, second, 0.8, 0.6, rank=rank)
    found = error(dense(result.lora)["x"], exact)
    assert found == pytest.approx(best_error(exact, rank), rel=1e-4)
    # The report says what the file has.
    row = result.report.modules[0]
    assert row.rank == rank and row.ranks == [4, 3]
    assert row.relative_error == pytest.approx(found, rel=1e-4)
    assert row.retained_energy == pytest.approx(1 - found**2, rel=1e-4)
    assert row.norm == pytest.approx(float(exact.norm()), rel=1e-5)
    assert result.report.relative_error == pytest.approx(found, rel=1e-4)


@pytest.mark.parametrize(
    "alpha, scale",
    [
        (None, 1.0),
        (torch.tensor(2.0), 0.5),
        (torch.tensor([2.0]), 0.5),
        (torch.tensor([[2.0]]), 0.5),
        (torch.tensor(2.0, dtype=torch.float16), 0.5),
        (torch.tensor(2.0, dtype=torch.bfloat16), 0.5),
        (torch.tensor(2.0, dtype=torch.float64), 0.5),
        (torch.tensor(2), 0.5),
        (torch.tensor(1.0004), 0.2501),
        (torch.tensor(4.0), 1.0),
        (torch.tensor(-2.0), -0.5),
        (torch.tensor(1e-4), 2.5e-5),
    ],
    ids=str,
)
def test_alpha_in_every_stored_form(alpha, scale):
    module = lora("x", rank=4, alpha=alpha)
    plain = dense(lora("x", rank=4))["x"]
    for settings in (FULL, {"rank": 3}, {"rank": 8}):
        result = dense(blended(module, None, 0.5, **settings).lora)["x"]
        limit = 1e-5 if settings != {"rank": 3} else best_error(plain, 3) * 1.0001
        assert error(result, 0.5 * scale * plain) < limit


@pytest.mark.parametrize("alpha", [None, 3.0])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (3,), (1, 2, 3)], ids=str)
def test_a_middle_kernel_is_folded_in(kernel, alpha):
    first = lora("x", (8, 6, *kernel), 3, KOHYA, alpha, mid=True, seed=1)
    second = lora("x", (8, 6, *kernel), 2, seed=2)
    result = blended(first, second, 0.5, -2.0, **FULL).lora
    assert_close(dense(result), weighted(first, second, 0.5, -2.0))
    assert "x.lora_mid.weight" not in result
    assert result["x.lora_down.weight"].shape == (5, 6, *kernel)


@pytest.mark.parametrize("first_flat", [True, False])
def test_1x1_convolutions_stored_flat_and_square_are_one(first_flat):
    first = lora("x", (10, 8, 1, 1), 2, flat=first_flat, seed=1)
    second = lora("x", (10, 8, 1, 1), 3, flat=not first_flat, seed=2)
    for settings in (FULL, {"rank": 2}):
        result = blended(first, second, **settings).lora
        assert result["x.lora_A.weight"].shape[1:] == (8, 1, 1)
        assert result["x.lora_B.weight"].shape[0] == 10
    assert_close(dense(blended(first, second, **FULL).lora), weighted(first, second, 1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, *FP8], ids=str)
def test_every_dtype_is_read_exactly(dtype):
    first, second = (lora_file("ab", dtype=dtype, seed=seed, alpha=2.0) for seed in (1, 2))
    result = blended(first, second, 0.5, 1.5, Output(dtype="fp32"), **FULL).lora
    assert_close(dense(result), weighted(first, second, 0.5, 1.5))
    assert {t.dtype for t in result.values()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rank", ["full", 5, 9])
def test_weights_1_and_0_give_the_first_file_to_the_bit(dtype, rank):
    first = mixed(KOHYA, 1)
    first = {k: t if k.endswith("alpha") else t.to(dtype) for k, t in first.items()}
    first |= {"blocks.0.linear.diff_b": randn((16,)).to(dtype)}
    first = {k: t for k, t in first.items() if "conv_3" not in k}  # rank 5 at most
    result = blended(first, mixed(PEFT, 2), 1.0, 0.0, rank=rank)
    assert same_bits(result.lora, first)
    assert {row.action for row in result.report.kept} == {"copied"}
    dropped = [row for row in result.report.modules if row.action == "dropped"]
    assert len(dropped) == 2 and all("weight is zero" in row.note for row in dropped)


@pytest.mark.parametrize("dtype", FP8, ids=str)
def test_fp8_is_written_as_bf16_without_loss(dtype):
    first = lora_file("ab", dtype=dtype)
    result = blended(first, None).lora
    assert {t.dtype for t in result.values()} == {torch.bfloat16}
    assert_close(dense(result), dense(first), 1e-12)


@pytest.mark.parametrize("w", [1.0, 0.3, -2.0])
@pytest.mark.parametrize("rank", ["full", 4, 100])
def test_a_file_minus_itself_is_dropped(w, rank):
    first = mixed(PEFT, 1) | {"n.diff": randn((3, 4)), "n.diff_b": randn((5,))}
    second = {k: t for k, t in first.items() if "linear" not in k} | lora("extra")
    result = blended(first, second, w, -w, rank=rank)
    # What only one of them has stays.
    assert set(dense(result.lora)) == {"blocks.0.linear", "extra"}
    assert sum(row.action == "dropped" for row in result.report.modules) == len(SHAPES) + 1
    with pytest.raises(LoraError, match="removed every module"):
        blended(first, dict(first), w, -w, rank=rank)


def test_zero_layers_can_be_kept():
    first = mixed(PEFT, 1) | {"n.diff": randn((3, 4))}
    for w1, w2 in ((1.0, -1.0), (0.0, 0.0)):
        result = blended(first, dict(first), w1, w2, drop_near_zero=False)
        update = dense(result.lora)
        assert update.keys() == dense(first).keys()
        assert all(float(value.abs().max()) == 0 for value in update.values())


def test_the_tolerance_decides_what_is_zero():
    first = lora("tiny", seed=1)
    first["tiny.lora_A.weight"] *= 1e-6
    both = first | lora("large", seed=2)
    assert "tiny" in dense(blended(both, None).lora)
    assert "tiny" not in dense(blended(both, None, 0.5, zero_tolerance=1e-3).lora)
    # However small it is, what is not zero is not called so.
    faint = {key: tensor * (1e-20 if "tiny" in key else 1) for key, tensor in both.items()}
    assert "tiny" in dense(blended(faint, None, 0.5).lora)


@pytest.mark.parametrize("rank", [3, 5, 64])
def test_no_padding_when_the_update_has_less_rank(rank):
    # Both files have the same three directions: their sum has rank 3, not 6.
    first = lora("x", rank=3)
    second = first | {"x.lora_A.weight": first["x.lora_A.weight"] * 2}
    result = blended(first, second, 0.5, 0.5, rank=rank)
    assert result.lora["x.lora_A.weight"].shape[0] == 3
    assert_close(dense(result.lora), weighted(first, second, 0.5, 0.5))
    row = result.report.modules[0]
    assert row.rank == 3 and ("has rank 3 only" in row.note) == (rank > 3)


def test_ranks_above_the_shape_are_reduced_to_it():
    first, second = (lora("x", (6, 5), 4, seed=seed) for seed in (1, 2))
    result = blended(first, second, **FULL)
    assert result.lora["x.lora_A.weight"].shape[0] == 5
    assert_close(dense(result.lora), weighted(first, second, 1, 1))


def test_modules_of_one_file_are_scaled_by_its_weight():
    first, second = lora_file(["both", "one"], seed=1), lora_file(["both", "two"], seed=2)
    result = blended(first, second, 0.5, -0.25, **FULL)
    assert_close(dense(result.lora), weighted(first, second, 0.5, -0.25))
    assert (result.report.matched, result.report.only_in) == (1, [1, 1])
    # First the first file's modules, then what the second adds.
    assert list(dense(result.lora)) == ["both", "one", "two"]


def test_the_order_of_the_files_does_not_matter():
    first, second = mixed(PEFT, 1), mixed(PEFT, 2)
    one = dense(blended(first, second, 0.3, 0.9, rank=3).lora)
    assert_close(dense(blended(second, first, 0.9, 0.3, rank=3).lora), one)


def test_differences_norms_and_biases_are_summed():
    def file(seed):
        shapes = {"l.diff": (4, 3), "l.diff_b": (4,), "c.diff": (4, 3, 3, 3), "g.w_norm": (7,)}
        tensors = {k: randn(s, seed, k) for k, s in (shapes | {"g.b_norm": (7,)}).items()}
        return tensors | lora("x", seed=seed)

    first, second = file(1), file(2)
    for rank in ("full", 2):
        result = blended(first, second, 0.5, -1.5, rank=rank).lora
        result, expected = dense(result), weighted(first, second, 0.5, -1.5)
        for name in ("l", "l.bias", "c", "g", "g.bias"):
            assert error(result[name], expected[name]) < 1e-6
    assert {"l.diff", "l.diff_b", "c.diff", "g.w_norm", "g.b_norm"} <= set(
        blended(first, second, **FULL).lora
    )


@pytest.mark.parametrize("shape", [(9, 6), (4, 3, 3, 3)])
@pytest.mark.parametrize("swap", [False, True])
def test_a_difference_and_a_lora_of_one_weight_add_up(shape, swap):
    files = [lora("x", shape, 2) | lora("y"), {"x.diff": randn(shape)} | lora("y", seed=5)]
    first, second = files[::-1] if swap else files
    exact = weighted(first, second, 0.5, 2.0)
    assert_close(dense(blended(first, second, 0.5, 2.0, **FULL).lora), exact)
    cut = blended(first, second, 0.5, 2.0, rank=2).lora
    assert "x.diff" not in cut
    assert error(dense(cut)["x"], exact["x"]) == pytest.approx(best_error(exact["x"], 2), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["full", 3, 50])
@pytest.mark.parametrize("method", ["svd", "pca"])
def test_paths_and_state_dicts_agree_and_repeat_bit_for_bit(tmp_path, rank, method):
    first, second = mixed(KOHYA, 1), mixed(PEFT, 2)
    paths = [save(first, tmp_path / "a.safetensors"), save(second, tmp_path / "b.safetensors")]
    settings = {"rank": rank, "truncation": method}
    memory = blended(first, second, 0.6, 0.7, **settings).lora
    assert same_bits(memory, blended(*paths, 0.6, 0.7, **settings).lora)
    outputs = []
    for name in ("one", "two"):
        output = Output(tmp_path / name / "out.safetensors")
        output.path.parent.mkdir()
        written = blended(*paths, 0.6, 0.7, output, **settings).lora
        outputs.append(written.read_bytes())
        assert same_bits(memory, load(written))
    assert outputs[0] == outputs[1]


def load(path):
    from safetensors.torch import load_file

    return load_file(path)


def test_inputs_are_left_alone_and_results_are_their_own():
    first, second = lora_file("ab", seed=1), lora_file("ac", seed=2)
    before = [{k: t.clone() for k, t in file.items()} for file in (first, second)]
    result = blended(first, second, rank=8).lora
    for tensor in result.values():
        assert not tensor.requires_grad
        tensor.fill_(7)
    assert same_bits(first, before[0]) and same_bits(second, before[1])


def test_tensors_outside_modules_are_carried_or_refused():
    table, note = randn((2, 5)), torch.tensor([1, 2])
    first = lora("x") | {"emb_params": table, "only.first": note}
    second = lora("x", seed=2) | {"emb_params": table.clone(), "only.second": note}
    result = blended(first, second)
    for key in ("emb_params", "only.first", "only.second"):
        assert key in result.report.carried and key in result.lora
    others = [table + 1, table.half(), table[:1], table.to(torch.float8_e4m3fn)]
    others += [table.reshape(5, 2), table.view(torch.int32)]  # the same bytes, another meaning
    for other in others:
        with pytest.raises(LoraError, match="tensor emb_params: is in several files"):
            blended(first, second | {"emb_params": other})
        kept = blended(first, second | {"emb_params": other}, layers="-emb_params")
        assert "emb_params" not in kept.lora and "x" in dense(kept.lora)
        assert sum("emb_params" in key for key in kept.report.dropped) >= 1


def test_identical_fp8_tensors_outside_modules_are_one():
    table = randn((2, 5)).to(torch.float8_e4m3fn)
    files = [lora("x", seed=seed) | {"emb_params": table.clone()} for seed in (1, 2)]
    assert "emb_params" in blended(*files).lora


def test_state_dicts_carry_their_metadata():
    first = StateDict(lora("x"))
    first.metadata = {"title": "mine"}
    assert blended(first, None, 0.5).lora.metadata["title"] == "mine"
