"""The two trained sample files: real spectra, two spellings, split against fused projections.

Also of shipped.py: it says where they are.
"""

import pytest
import torch
from safetensors.torch import load_file

from core import Blend, Lora, Output, RankRule, blend, convert, resize, samples, select, verify
from tests.helpers import best_error, dense, error, same_bits
from tests.marks import one_in

STYLE, CHARACTER = samples()

# diffusers name -> (kohya's block and its weight, the part of it), for the miniature of the samples
DOUBLE = {
    "attn.to_q": ("img_attn_qkv", 0),
    "attn.to_k": ("img_attn_qkv", 1),
    "attn.to_v": ("img_attn_qkv", 2),
    "attn.to_out.0": ("img_attn_proj", 0),
    "attn.add_q_proj": ("txt_attn_qkv", 0),
    "attn.add_k_proj": ("txt_attn_qkv", 1),
    "attn.add_v_proj": ("txt_attn_qkv", 2),
    "attn.to_add_out": ("txt_attn_proj", 0),
    "ff.net.0.proj": ("img_mlp_0", 0),
    "ff.net.2": ("img_mlp_2", 0),
    "ff_context.net.0.proj": ("txt_mlp_0", 0),
    "ff_context.net.2": ("txt_mlp_2", 0),
    "norm1.linear": ("img_mod_lin", 0),
    "norm1_context.linear": ("txt_mod_lin", 0),
}
SINGLE = {
    "attn.to_q": ("linear1", 0),
    "attn.to_k": ("linear1", 1),
    "attn.to_v": ("linear1", 2),
    "proj_mlp": ("linear1", 3),
    "proj_out": ("linear2", 0),
    "norm.linear": ("modulation_lin", 0),
}
HIDDEN = 64


def place(raw: str) -> tuple[str, int]:
    """(kohya name, first row) of a module of either sample."""
    if raw.startswith("lora_unet_"):
        return raw, 0
    _, blocks, number, rest = raw.split(".", 3)
    table, name = (SINGLE, "single") if blocks.startswith("single") else (DOUBLE, "double")
    weight, part = table[rest]
    return f"lora_unet_{name}_blocks_{number}_{weight}", part * HIDDEN


def whole(tensors) -> dict[str, torch.Tensor]:
    """What a file adds to each weight, as kohya cuts them."""
    result: dict[str, torch.Tensor] = {}
    for raw, update in dense(tensors).items():
        name, start = place(raw)
        stop = start + len(update)
        old = result.get(name, torch.zeros(0, update.shape[1], dtype=torch.float64))
        grown = torch.zeros(max(stop, len(old)), update.shape[1], dtype=torch.float64)
        grown[: len(old)] = old
        grown[start:stop] += update
        result[name] = grown
    return result


def tall(update, rows) -> torch.Tensor:
    """With rows of zeros below."""
    return torch.nn.functional.pad(update, (0, 0, 0, rows - len(update)))


def same_updates(found, exact) -> float:
    """The largest relative error of a weight; rows that one side never mentions are zeros."""
    assert found.keys() == exact.keys()
    errors = []
    for name, update in exact.items():
        rows = max(len(update), len(found[name]))
        errors.append(error(tall(found[name], rows), tall(update, rows)))
    return max(errors)


def summed(w1, w2) -> dict[str, torch.Tensor]:
    one, two = whole(load_file(STYLE)), whole(load_file(CHARACTER))
    result = {name: w1 * update for name, update in one.items()}
    for name, update in two.items():
        other = result.get(name, torch.zeros(0, update.shape[1], dtype=torch.float64))
        rows = max(len(update), len(other))
        result[name] = tall(other, rows) + w2 * tall(update, rows)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("swap", one_in(2, [False, True]))
@pytest.mark.parametrize("w1, w2", [(0.8, 0.6), (1.0, -0.5)])
def test_blending_the_samples_is_the_weighted_sum(tmp_path, w1, w2, swap):
    files, weights = ((CHARACTER, STYLE), (w2, w1)) if swap else ((STYLE, CHARACTER), (w1, w2))
    output = Output(tmp_path / "out.safetensors", "fp32")
    blend(*files, Blend(weights, "full"), output)
    assert same_updates(whole(load_file(output.path)), summed(w1, w2)) < 1e-5
    assert verify(output.path, files, weights).relative_error < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("rank", [4, 8])
def test_truncating_the_samples_is_the_optimum(rank):
    result = blend(CHARACTER, STYLE, Blend((0.8, 0.6), rank), Output(dtype="fp32"))
    exact, found = summed(0.6, 0.8), whole(result.lora)
    for row in result.report.modules:
        name = "lora_unet_" + row.module.replace(".", "_")
        if name in exact and len(exact[name]) == len(found[name]):
            best = best_error(exact[name], rank)
            assert error(found[name], exact[name]) == pytest.approx(best, rel=1e-3, abs=1e-6)
            assert row.relative_error == pytest.approx(best, rel=1e-3, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("path", [STYLE, CHARACTER], ids=lambda path: path.stem)
def test_the_samples_written_again_are_themselves(path):
    metadata = Lora(path).metadata
    large = RankRule("rank", 99)
    for result in (convert(path, Output()), select(path, "*")[0], resize(path, large)):
        assert same_bits(result.lora, load_file(path))
        # All but the names: those are the file's, and what is in memory is no file yet.
        own = {"lora_alloy", "ss_output_name", "modelspec.title"}
        found = result.lora.metadata.items()
        assert {k: v for k, v in found if k not in own} == {
            k: v for k, v in metadata.items() if k not in own
        }


@pytest.mark.slow
@pytest.mark.parametrize("spelling", one_in(3, ["kohya", "generic", "diffusers"]))
@pytest.mark.parametrize("path", [STYLE, CHARACTER], ids=lambda path: path.stem)
def test_converting_the_samples_and_back_keeps_the_update(path, spelling):
    there = convert(path, Output(dtype="fp32", spelling=spelling)).lora
    assert verify(there, [path], [1]).relative_error < 1e-6
    back = convert(there, Output(spelling=Lora(path).spelling.name)).lora
    assert same_updates(whole(back), whole(load_file(path))) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("path", [STYLE, CHARACTER], ids=lambda path: path.stem)
@pytest.mark.parametrize("rank", [2, 3, 4, 6])  # Rank 1 in every layer leaves nothing to share.
def test_on_real_spectra_the_budget_beats_every_fixed_rank(path, rank):
    def size(lora) -> int:
        return sum(t.numel() for key, t in lora.items() if not key.endswith(".alpha"))

    fixed = resize(path, RankRule("rank", rank), output=Output(dtype="fp32"))
    spent = resize(path, RankRule("parameters", size(fixed.lora)), output=Output(dtype="fp32"))
    assert size(spent.lora) <= size(fixed.lora)
    assert spent.report.relative_error < fixed.report.relative_error * 0.99
    for result in (fixed, spent):
        measured = verify(result.lora, [path], [1]).relative_error
        assert result.report.relative_error == pytest.approx(measured, rel=1e-3)


def test_the_samples_have_real_spectra():
    # Their energy lies in few directions, which random matrices never show.
    report = resize(STYLE, RankRule("energy", 0.9), preview=True).report
    assert sum(row.rank for row in report.modules) < 0.7 * 8 * len(report.modules)
