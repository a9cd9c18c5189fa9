"""Resize: every rule is the optimum at its rank, previews tell the truth, budgets hold."""

from importlib import import_module

import pytest
import torch

from core import Compute, Lora, LoraError, Output, RankRule, StateDict, resize
from core.running.layout import lay_out
from core.storage.files import open_tensors
from tests.helpers import (
    KOHYA,
    PEFT,
    assert_close,
    best_error,
    dense,
    error,
    files_in,
    flux_file,
    lora,
    randn,
    same_bits,
    save,
)
from tests.marks import one_in

SHAPES = {"linear": (24, 20), "wide": (10, 60), "conv": (12, 5, 3, 3), "one": (16, 14, 1, 1)}


def sample(pair=PEFT, rank=8, alpha=None, seed=0) -> dict[str, torch.Tensor]:
    result = {}
    for name, shape in SHAPES.items():
        result |= lora(name, shape, rank, pair, alpha, seed=(seed, name))
    return result


FILE = sample()
RULES = {
    "rank": RankRule("rank", 3),
    "energy": RankRule("energy", 0.9),
    "sv_ratio": RankRule("sv_ratio", 2.5),
    "sv_cumulative": RankRule("sv_cumulative", 0.7),
    "sv_fro": RankRule("sv_fro", 0.9),
    "knee": RankRule("knee"),
    "parameters": RankRule("parameters", 1000),
    "megabytes": RankRule("megabytes", 0.006),
}


def parameters(tensors) -> int:
    return sum(t.numel() for k, t in tensors.items() if not k.endswith(".alpha"))


def total_error(tensors, exact) -> float:
    found = dense(tensors)
    flat = [torch.cat([d[n].flatten() for n in exact]) for d in (found, exact)]
    return error(*flat)


@pytest.mark.parametrize("alpha", one_in(2, [2.0, None]))
@pytest.mark.parametrize("pair", [PEFT, KOHYA], ids=["peft", "kohya"])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_writes_the_optimum_at_its_rank_and_says_so(name, pair, alpha):
    tensors = sample(pair, alpha=alpha)
    exact = dense(tensors)
    result = resize(tensors, RULES[name])
    found = dense(result.lora)
    assert found.keys() == exact.keys()
    assert any(row.rank < 8 for row in result.report.modules)
    for row in result.report.modules:
        assert result.lora[row.module + pair[1]].shape[0] == row.rank
        lost = error(found[row.module], exact[row.module])
        assert lost == pytest.approx(best_error(exact[row.module], row.rank), rel=1e-4, abs=1e-6)
        assert row.relative_error == pytest.approx(lost, rel=1e-4, abs=1e-6)
        assert row.retained_energy == pytest.approx(1 - lost**2, rel=1e-4)
    assert result.report.relative_error == pytest.approx(total_error(result.lora, exact), rel=1e-4)


@pytest.mark.parametrize("name", RULES)
def test_a_preview_tells_what_the_run_will_do(tmp_path, name):
    path, out = save(FILE, tmp_path / "in.safetensors"), Output(tmp_path / "out.safetensors")
    preview = resize(path, RULES[name], output=out, preview=True)
    assert not preview.lora and files_in(tmp_path) == {"in.safetensors"}
    done = resize(path, RULES[name], output=out)
    assert preview.report.modules == done.report.modules
    assert preview.report.relative_error == done.report.relative_error
    assert preview.report.retained_energy == done.report.retained_energy
    assert preview.report.output_bytes == done.report.output_bytes
    assert preview.report.inputs == done.report.inputs


@pytest.mark.parametrize("rule", [RankRule("rank", 8), RankRule("rank", 500)])
@pytest.mark.parametrize("alpha", [None, 3.0])
def test_a_larger_rank_changes_nothing(rule, alpha):
    tensors = sample(KOHYA, alpha=alpha)
    result = resize(tensors, rule)
    assert same_bits(result.lora, tensors)
    assert result.report.relative_error == 0 and result.report.retained_energy == 1


@pytest.mark.parametrize("name", ["energy", "sv_cumulative", "sv_fro"])
def test_a_share_of_one_keeps_everything(name):
    result = resize(FILE, RankRule(name, 1.0))
    assert {row.rank for row in result.report.modules} == {8}
    assert_close(dense(result.lora), dense(FILE), 1e-6)


def padded(rank=3, zeros=13) -> dict[str, torch.Tensor]:
    """A module that stores more columns than it has directions, as other tools write them."""
    tensors = lora("x", (24, 20), rank)
    up, down = tensors["x.lora_B.weight"], tensors["x.lora_A.weight"]
    return {
        "x.lora_B.weight": torch.nn.functional.pad(up, (0, zeros)),
        "x.lora_A.weight": torch.cat([down, randn((zeros, 20), "noise")]),
    }


@pytest.mark.parametrize(
    "rule",
    [
        RankRule("rank", 8),
        RankRule("energy", 1.0),
        RankRule("sv_ratio", 1e9, max_rank=8),
        RankRule("parameters", 8 * 44),
    ],
    ids=str,
)
def test_stored_padding_is_cut_and_the_limit_holds(rule):
    result = resize(padded(), rule)
    assert result.lora["x.lora_A.weight"].shape[0] == 3
    assert_close(dense(result.lora), dense(padded()))


@pytest.mark.parametrize("name", ["energy", "sv_ratio", "knee", "parameters"])
def test_minimum_and_maximum_rank_hold(name):
    value = {"energy": 0.9, "sv_ratio": 3, "knee": 0, "parameters": 1000}[name]
    limits = RankRule(name, value, min_rank=3, max_rank=4)
    assert {row.rank for row in resize(FILE, limits).report.modules} <= {3, 4}


def test_modules_that_are_not_selected_stay_to_the_bit():
    result = resize(FILE, RankRule("rank", 2), "linear, conv")
    rows = {row.module: (row.rank, row.action) for row in result.report.modules}
    assert rows["wide"] == rows["one"] == (8, "copied")
    assert rows["linear"][0] == rows["conv"][0] == 2
    stay = {k: t for k, t in FILE.items() if k.startswith(("wide", "one"))}
    assert same_bits({k: result.lora[k] for k in stay}, stay)
    assert result.report.relative_error == pytest.approx(
        total_error(result.lora, dense(FILE)), rel=1e-4
    )


@pytest.mark.parametrize("rank", [1, 2, 4, 6])
@pytest.mark.parametrize("unit", ["parameters", "megabytes"])
def test_the_budget_beats_the_fixed_rank_of_the_same_size(tmp_path, rank, unit):
    # Layers of very different strength: that is what a budget over the whole file is for.
    tensors = {k: t * (0.1 if k.startswith(("wide", "conv")) else 1) for k, t in FILE.items()}
    fixed = resize(tensors, RankRule("rank", rank), output=Output(tmp_path / "fixed.safetensors"))
    size = parameters({k: i for k, i in read(fixed.lora).items()})
    if unit == "megabytes":
        # The header also names the rule: that is a few bytes more.
        size = fixed.lora.stat().st_size / 1e6 + 1e-4
    rule = RankRule(unit, size)
    spent = resize(tensors, rule, output=Output(tmp_path / "spent.safetensors"))
    if unit == "megabytes":
        assert spent.lora.stat().st_size <= size * 1e6
    else:
        assert parameters(read(spent.lora)) <= size
    exact = dense(tensors)
    limit = total_error(read(fixed.lora), exact)
    assert total_error(read(spent.lora), exact) <= limit * (1 + 1e-6)


def read(path) -> dict[str, torch.Tensor]:
    opened = open_tensors(path)
    return {key: opened[key] for key in opened.info}


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("room", [0, 2500])
def test_decompositions_that_find_no_room_between_the_passes_are_made_again(
    room, workers, monkeypatch
):
    rule = RankRule("parameters", 900)
    expected = resize(FILE, rule).lora
    monkeypatch.setattr(import_module("core.edits.cutting"), "KEPT_BYTES", room)
    assert same_bits(resize(FILE, rule, compute=Compute(workers=workers)).lora, expected)


@pytest.mark.parametrize("room, kept", [(0, 0), (1023, 0), (1024, 1), (2500, 2), (10**8, 4)])
def test_no_more_decompositions_are_kept_than_there_is_room_for(room, kept, monkeypatch):
    module = import_module("core.edits.cutting")
    monkeypatch.setattr(module, "KEPT_BYTES", room)
    targets = lay_out([Lora(StateDict(FILE))], None)  # Of rank 8: 2 * 8 * 8 * 8 bytes each.
    assert len(module.decompositions_to_keep(targets)) == kept


@pytest.mark.parametrize("megabytes", [0.004, 0.008, 0.012])
@pytest.mark.parametrize("dtype", ["match", "fp32", "fp16"])
@pytest.mark.parametrize("pair", [PEFT, KOHYA], ids=["peft", "kohya"])
def test_a_file_is_never_larger_than_its_budget(tmp_path, pair, dtype, megabytes):
    # With tensors that stay: norms in half precision, unknown ones, and long metadata.
    tensors = {k: t.half() for k, t in sample(pair, alpha=2.0).items()}
    tensors |= {"n.w_norm": randn((50,)).half(), "unknown": torch.arange(20)}
    path = save(tensors, tmp_path / "in.safetensors", {"ss_tag": "x" * 300, "q": '"' * 50})
    rule = RankRule("megabytes", megabytes)
    try:
        result = resize(path, rule, output=Output(tmp_path / "out.safetensors", dtype))
    except LoraError as refused:
        assert "budget" in str(refused) and files_in(tmp_path) == {"in.safetensors"}
        return
    assert result.lora.stat().st_size <= megabytes * 1e6
    # And it is used: one more rank anywhere would not fit, or nothing is left to keep.
    cheapest = 2 * 30 * (4 if dtype == "fp32" else 2)
    full = all(row.rank == 8 for row in result.report.modules if row.rank)
    assert full or result.lora.stat().st_size > megabytes * 1e6 - cheapest - 900


@pytest.mark.parametrize("rule", [RankRule("megabytes", 0.001), RankRule("parameters", 50)])
def test_a_budget_below_the_least_is_refused_with_the_least(tmp_path, rule):
    with pytest.raises(LoraError, match=r"budget.*\d"):
        resize(FILE, rule, output=Output(tmp_path / "out.safetensors"))
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("shape", [(20, 16), (6, 5, 3, 3)])
def test_a_difference_becomes_lora_where_that_is_smaller(shape):
    update = lora("d", shape, 2)
    full = dense(update)["d"].float().reshape(shape)
    tensors = {"d.diff": full, "n.diff": randn((9,)), "d.diff_b": randn((shape[0],))} | lora("x")
    result = resize(tensors, RankRule("energy", 1.0))
    assert "d.diff" not in result.lora and "n.diff" in result.lora and "d.diff_b" in result.lora
    assert result.lora["d.lora_A.weight"].shape[0] == 2
    assert_close(dense(result.lora), dense(tensors))
    kept = resize({"d.diff": randn(shape)} | lora("x"), RankRule("energy", 1.0))
    assert "d.diff" in kept.lora and "smaller as it is" in kept.report.modules[0].note


def test_a_layer_of_zeros_stays_loadable():
    tensors = lora("x") | {k.replace("x", "z"): t * 0 for k, t in lora("x").items()}
    result = resize(tensors, RankRule("energy", 0.9))
    assert result.lora["z.lora_A.weight"].shape[0] == 1
    assert not dense(result.lora)["z"].any()


def test_a_middle_kernel_is_folded_in_when_cut():
    tensors = lora("x", (8, 6, 3, 3), 5, KOHYA, 2.0, mid=True)
    result = resize(tensors, RankRule("rank", 2))
    exact = dense(tensors)["x"]
    assert error(dense(result.lora)["x"], exact) == pytest.approx(best_error(exact, 2), rel=1e-4)
    assert same_bits(resize(tensors, RankRule("rank", 5)).lora, tensors)


def test_float64_reaches_float64_accuracy():
    tensors = {k: t.double() for k, t in sample(rank=4).items()}
    rule = RankRule("rank", 4)
    # 8 stored columns, 4 directions: everything is recomputed, nothing is lost.
    for module in SHAPES:
        up, down = (tensors[module + suffix] for suffix in PEFT)
        tensors[module + PEFT[0]] = torch.cat([up, up], 1)
        tensors[module + PEFT[1]] = torch.cat([down, down * 0.5], 0)
    result = resize(tensors, rule, compute=Compute(dtype=torch.float64))
    for row in result.report.modules:  # float64 files are written as fp32.
        assert row.rank == 4 and row.relative_error == row.rounding < 1e-7
        assert row.retained_energy == pytest.approx(1, abs=1e-15)


def test_a_fused_spelling_counts_in_the_budget(tmp_path):
    # Written under other names, split projections become fused ones of larger rank.
    tensors = flux_file("diffusers", rank=3)
    for rule in (RankRule("parameters", 700), RankRule("rank", 2)):
        out = Output(tmp_path / "out.safetensors", spelling="kohya")
        result = resize(tensors, rule, output=out)
        if rule.budget:
            assert parameters(read(result.lora)) <= 700
        else:
            assert {row.rank for row in result.report.modules} == {2}
