"""Verify measures what a file says, independently of the report of the edit that wrote it."""

from dataclasses import replace

import pytest
import torch

from core import Blend, LoraError, Output, StateDict, blend, convert, verify
from core.edits.verify import check
from tests.helpers import KOHYA, best_error, dense, error, lora, lora_file, randn, save, weighted

FIRST = lora_file("abc", seed=1) | {"a.diff_b": randn((16,)), "n.diff": randn((5, 4))}
SECOND = lora_file("abd", seed=2) | {"n.diff": randn((5, 4), 2)}


def rows(report) -> dict[str, object]:
    return {row.module: row for row in report.modules}


@pytest.mark.slow
@pytest.mark.parametrize("w1, w2", [(1.0, 1.0), (0.7, -1.3)])
@pytest.mark.parametrize("rank", ["full", 3])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_the_error_is_the_true_one_per_module_and_in_total(tmp_path, dtype, rank, w1, w2):
    paths = [save(FIRST, tmp_path / "a.safetensors"), save(SECOND, tmp_path / "b.safetensors")]
    output = Output(tmp_path / "out.safetensors", dtype)
    edited = blend(*paths, Blend((w1, w2), rank), output)
    report = verify(edited.lora, paths, [w1, w2])
    exact = weighted(FIRST, SECOND, w1, w2)
    from safetensors.torch import load_file

    found = dense(load_file(edited.lora))
    assert rows(report).keys() == exact.keys()
    for name, row in rows(report).items():
        assert row.relative_error == pytest.approx(error(found[name], exact[name]), 1e-3, 1e-9)
        assert row.norm == pytest.approx(float(exact[name].norm()), rel=1e-6)
    flat = [torch.cat([d[n].flatten() for n in exact]) for d in (found, exact)]
    assert report.relative_error == pytest.approx(error(*flat), rel=1e-3, abs=1e-9)
    assert report.retained_energy == pytest.approx(1 - error(*flat) ** 2, rel=1e-6)


def test_a_damaged_factor_is_found():
    written = blend(FIRST, SECOND, Blend(rank="full")).lora
    written["b.lora_A.weight"][0, 0] += 1
    found = rows(verify(written, [FIRST, SECOND], [1, 1]))
    assert found["b"].relative_error > 0.01
    assert all(row.relative_error < 1e-6 for name, row in found.items() if name != "b")


@pytest.mark.parametrize("weights", [[1, 1.1], [1, -1], [0.9, 1]])
def test_other_weights_are_not_what_was_written(weights):
    written = blend(FIRST, SECOND, Blend(rank="full")).lora
    assert verify(written, [FIRST, SECOND], weights).relative_error > 0.05
    assert verify(written, [FIRST, SECOND], [1, 1]).relative_error < 1e-6


def test_a_missing_module_counts_with_all_of_it():
    written = blend(FIRST, SECOND, Blend(rank="full", layers="-a")).lora
    report = verify(written, [FIRST, SECOND], [1, 1])
    assert rows(report)["a"].action == "missing" and rows(report)["a"].relative_error == 1
    exact = weighted(FIRST, SECOND, 1, 1)
    gone = sum(float(exact[name].square().sum()) for name in ("a", "a.bias"))
    whole = sum(float(update.square().sum()) for update in exact.values())
    assert report.relative_error == pytest.approx((gone / whole) ** 0.5)
    assert any("2 modules of the inputs are not in" in note for note in report.notes)


def test_a_module_that_should_not_be_there_is_found():
    written = blend(FIRST, SECOND, Blend(rank="full")).lora
    report = verify(dict(written) | lora("spurious"), [FIRST, SECOND], [1, 1])
    assert rows(report)["spurious"].relative_error > 1e3
    exact = sum(float(update.square().sum()) for update in weighted(FIRST, SECOND, 1, 1).values())
    spurious = float(dense(lora("spurious"))["spurious"].norm())
    assert report.relative_error == pytest.approx(spurious / exact**0.5)


def test_a_file_that_should_be_zero_and_is_not_is_wrong():
    report = verify(FIRST, [FIRST, FIRST], [1, -1])
    assert all(row.relative_error > 1e3 for row in report.modules)
    assert report.relative_error > 0.1 and report.retained_energy == 0


def test_block_weights_are_counted_as_blend_counts_them():
    text = "a: 0.5, 2\n*.bias: 3"
    written = blend(FIRST, SECOND, Blend(rank="full", block_weights=text)).lora
    assert verify(written, [FIRST, SECOND], [1, 1], text).relative_error < 1e-6
    assert verify(written, [FIRST, SECOND], [1, 1]).relative_error > 0.01


def test_one_input_is_a_resize():
    written = blend(FIRST, None, Blend((1.0,), 2)).lora
    found = rows(verify(written, [FIRST], [1]))
    for name, update in dense(FIRST).items():
        exact = 0 if name in ("a.bias", "n") else best_error(update, 2)
        assert found[name].relative_error == pytest.approx(exact, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("weights", [[], [1, 1, 1]])
def test_one_weight_per_input_is_needed(weights):
    with pytest.raises(LoraError, match="weight"):
        verify(FIRST, [FIRST, SECOND], weights)


def test_what_cannot_be_measured_is_not_called_exact():
    dora = lora("x") | {"x.dora_scale": torch.ones(16, 1)} | lora("y")
    report = verify(dora, [dora], [1])
    row = rows(report)["x"]
    assert row.action == "not measured" and row.norm is None and "DoRA" in row.note
    assert any("1 modules were" in note and "not measured" in note for note in report.notes)


def test_small_errors_are_measured_beside_large_terms():
    # 1e-6 of the update is far below what squares of norms would show.
    written = dict(lora("x"))
    written["x.lora_B.weight"] = written["x.lora_B.weight"] * (1 + 2e-6)
    found = verify(written, [lora("x")], [1]).relative_error
    true = error(dense(written)["x"], dense(lora("x"))["x"])
    assert found == pytest.approx(true, rel=1e-3)


# -- for whom -------------------------------------------------------------------------------------

FOR_DIFFUSERS = lora_file(
    [f"transformer.transformer_blocks.{block}.attn.to_add_out" for block in range(2)],
    shape=(3072, 3072),
)


def test_what_its_reader_does_not_find_counts_as_missing():
    generic = convert(FOR_DIFFUSERS, Output(spelling="generic")).lora
    wrong = {"match": 0, "comfyui": 0, "any": 0, "diffusers": 1, "a1111": 1}
    for reader, share in wrong.items():
        report = verify(generic, [FOR_DIFFUSERS], [1], reader=reader)
        assert report.relative_error == pytest.approx(share, abs=1e-6), reader
    note = "2 modules count as missing: diffusers does not read diffusion_model.double_blocks.0."
    report = verify(generic, [FOR_DIFFUSERS], [1], reader="diffusers")
    assert any(said.startswith(note) for said in report.notes)
    assert verify(FOR_DIFFUSERS, [generic], [1], reader="diffusers").relative_error < 1e-6


def test_a_name_that_comfyui_overwrites_does_not_count():
    name = "double_blocks.0.img_attn.proj"
    first, second = (
        lora("lora_unet_" + name.replace(".", "_"), (3072, 3072), pair=KOHYA),
        lora(f"diffusion_model.{name}", (3072, 3072), seed=1),
    )
    both = first | second
    report = verify(both, [first, second], [1, 1])
    assert report.relative_error > 0.5
    assert any("does not count: module" in note and "stored twice" in note for note in report.notes)


def test_a_check_finds_names_that_nobody_reads():
    source = lora_file(["diffusion_model.double_blocks.0.img_attn.proj"], shape=(3072, 3072))
    edited = convert(source, Output(spelling="kohya"))
    assert check(edited, [source]).relative_error < 1e-6
    wrong = {key.replace("lora_unet_", "lycoris_"): t for key, t in edited.lora.items()}
    with pytest.raises(LoraError, match="which ComfyUI does not read"):
        check(replace(edited, lora=StateDict(wrong)), [source])
    twice = StateDict(edited.lora | source)
    with pytest.raises(LoraError, match=r"does not count: module .* is stored twice"):
        check(replace(edited, lora=twice), [source])
