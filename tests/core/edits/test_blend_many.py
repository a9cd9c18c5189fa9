"""Blends of more than two LoRAs, and of any number by any method."""

from itertools import permutations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from core import METHODS, Blend, LoraError, MismatchError, SettingError, blend
from core.algebra.low_rank import LowRank
from core.merging import stacks
from core.merging.merge import Merge
from core.running import stream
from core.running.threads import Inline
from tests.helpers import best_error, dense, error, flux_file, lora, lora_file, save

NAMES = ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn"]


def files(count: int, rank: int = 3) -> list[dict[str, torch.Tensor]]:
    return [lora_file(NAMES, shape=(24, 20), rank=rank, seed=seed) for seed in range(count)]


def summed(inputs, weights) -> dict[str, torch.Tensor]:
    parts = [dense(one) for one in inputs]
    return {n: sum(w * part[n] for w, part in zip(weights, parts, strict=True)) for n in NAMES}


@pytest.mark.parametrize("rank", ["full", "auto", 4])
def test_four_files_are_the_weighted_sum_cut_once(rank):
    inputs, weights = files(4), [1.0, -0.5, 0.25, 2.0]
    result = blend(inputs, settings=Blend(weights, rank)).lora
    exact = summed(inputs, weights)
    kept = {"full": 12, "auto": 3}.get(rank, rank)
    for name, update in dense(result).items():
        best = best_error(exact[name], kept)
        assert error(update, exact[name]) == pytest.approx(best, rel=1e-4, abs=1e-6)


def test_one_weight_counts_for_all_and_any_other_number_is_refused():
    inputs = files(3)
    result = dense(blend(inputs, settings=Blend((0.5,), "full")).lora)
    exact = summed(inputs, [0.5] * 3)
    assert max(error(result[name], exact[name]) for name in NAMES) < 1e-6
    with pytest.raises(SettingError, match="2 weights for 3 LoRAs"):
        blend(inputs, settings=Blend((0.5, 1.0)))


def test_no_file_is_refused_by_name():
    with pytest.raises(SettingError, match="no LoRA to blend"):
        blend([])


def test_the_order_of_the_files_makes_no_difference_to_the_sum():
    inputs, weights = files(3), (0.5, -1.0, 2.0)
    results = []
    for order in permutations(range(3)):
        settings = Blend([weights[i] for i in order], 4)
        results.append(dense(blend([inputs[i] for i in order], settings=settings).lora))
    for result in results[1:]:
        assert max(error(result[name], results[0][name]) for name in NAMES) < 1e-5


def test_fifty_files():
    inputs = files(50, rank=2)
    result = dense(blend(inputs, settings=Blend((0.1,), "full")).lora)
    exact = summed(inputs, [0.1] * 50)
    assert max(error(result[name], exact[name]) for name in NAMES) < 1e-5


def test_a_third_file_for_another_model_is_named():
    odd = lora_file(["other.thing"], shape=(8, 8))
    with pytest.raises(MismatchError, match="share no module"):
        blend([*files(2), odd])


def test_a_tensor_outside_modules_that_only_later_files_have_is_carried_once():
    plain, *others = files(3)
    extra = {"some.other_tensor": torch.arange(3.0)}
    result = blend([plain, *(one | extra for one in others)]).lora
    assert torch.equal(result["some.other_tensor"], extra["some.other_tensor"])
    different = {"some.other_tensor": torch.zeros(3)}
    with pytest.raises(MismatchError, match="in several files with different values"):
        blend([plain, others[0] | extra, others[1] | different])


def test_a_file_that_is_given_twice_counts_twice_and_is_noted(tmp_path):
    one, other = files(2)
    paths = [tmp_path / name for name in ("a.safetensors", "copy.safetensors")]
    for path in paths:
        save(one, path)
    for sources, note in (
        ([one, other, dict(one)], "state dict is given twice: both weights count"),
        ([paths[0], other, paths[0]], "a.safetensors is given twice: both weights count"),
        ([paths[0], other, paths[1]], "a.safetensors is given again as copy.safetensors"),
    ):
        edited = blend(sources, settings=Blend((0.5, 1.0, 0.25), "full"))
        assert [text for text in edited.report.notes if text.startswith(note)]
        exact = summed([one, other], [0.75, 1.0])
        assert all(error(dense(edited.lora)[name], exact[name]) < 1e-6 for name in NAMES)
    alike = {key: tensor.clone() for key, tensor in one.items()}
    assert not blend([one, other]).report.notes and not blend([one, alike]).report.notes


def test_block_weights_have_a_number_for_each_file():
    inputs = files(3)
    settings = Blend((1.0,), "full", block_weights="blocks.0: 1, 0, 0; blocks.1: 0.5")
    result = dense(blend(inputs, settings=settings).lora)
    parts = [dense(one) for one in inputs]
    assert error(result[NAMES[0]], parts[0][NAMES[0]]) < 1e-6
    assert error(result[NAMES[2]], 0.5 * sum(part[NAMES[2]] for part in parts)) < 1e-6
    with pytest.raises(SettingError, match="cannot be read"):
        blend(inputs, settings=Blend(block_weights="blocks.0: 1, 0"))


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_does_in_a_file_what_it_does_to_updates(method):
    weights = [1.0, 0.7]
    inputs = files(2)
    report = blend(inputs, settings=Blend(weights, "full", method=method)).report
    result = dense(blend(inputs, settings=Blend(weights, "full", method=method)).lora)
    assert {row.action for row in report.modules} == {"blended"}
    for name in NAMES:
        if method in ("dare", "della"):
            continue  # They draw at random, each module by its own seed: see below.
        updates = [
            LowRank.of(one[f"{name}.lora_B.weight"], one[f"{name}.lora_A.weight"], (24, 20))
            for one in inputs
        ]
        found = Merge(method)(updates, weights).update
        values = found.dense() if isinstance(found, LowRank) else found.values
        assert error(result[name], values.double()) < 1e-5


@pytest.mark.parametrize("method", ["dare", "della"])
def test_methods_that_draw_repeat_under_a_seed_and_differ_between_modules(method):
    tensors = lora("blocks.0.attn", (24, 20)) | lora("blocks.1.attn", (24, 20))
    tensors = {k: t if "0" in k else tensors[k.replace("1", "0", 1)] for k, t in tensors.items()}
    settings = Blend(rank="full", method=method, seed=3)
    inputs = [tensors, {key: 2 * tensor for key, tensor in tensors.items()}]
    one, again = (dense(blend(inputs, settings=settings).lora) for _ in range(2))
    assert torch.equal(one["blocks.0.attn"], again["blocks.0.attn"])
    assert not torch.equal(one["blocks.0.attn"], one["blocks.1.attn"])


def test_a_tile_method_at_a_rank_says_what_the_rank_has_cost():
    inputs = files(3)
    full = dense(blend(inputs, settings=Blend(rank="full", method="ties")).lora)
    edited = blend(inputs, settings=Blend(rank=5, method="ties"))
    for row in edited.report.modules:
        true = error(dense(edited.lora)[row.module], full[row.module])
        assert row.rank == 5 and row.relative_error == pytest.approx(true, rel=0.02)
        assert true < 1.05 * best_error(full[row.module], 5) + 1e-6


class Largest(TorchDispatchMode):
    """Sees the largest tensor that anything computes."""

    entries = 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        result = function(*arguments, **(settings or {}))
        parts = result if isinstance(result, list | tuple) else [result]
        sizes = [part.numel() for part in parts if isinstance(part, torch.Tensor)]
        self.entries = max(self.entries, *sizes, 0)
        return result


@pytest.mark.slow
def test_a_tile_method_at_a_rank_holds_no_whole_matrix(monkeypatch):
    monkeypatch.setattr(stacks, "TILE_ELEMENTS", 3000)
    monkeypatch.setattr(stacks, "SAMPLED", 30)
    monkeypatch.setattr(stream, "single_thread_pool", lambda *_: (Inline(), 0))
    inputs = [lora_file(["blocks.0.mlp"], shape=(300, 200), rank=3, seed=seed) for seed in (0, 1)]
    for rank, whole in ((4, False), ("full", True)):
        with Largest() as largest:
            blend(inputs, settings=Blend(rank=rank, method="ties"))
        assert (largest.entries >= 300 * 200) == whole


def test_a_merge_of_factors_that_loses_little_knows_how_little():
    """It is cut once: of what was cut before, the small difference of two norms would be left."""
    inputs = files(2)
    for one in inputs:
        for name in NAMES:
            one[f"{name}.lora_B.weight"] *= torch.tensor([1.0, 0.5, 3e-5])
    exact = dense(blend(inputs, settings=Blend(rank="full", method="karcher")).lora)
    for row in blend(inputs, settings=Blend(rank=4, method="karcher")).report.modules:
        best = best_error(exact[row.module], 4)
        assert best < 1e-4 and row.relative_error == pytest.approx(best, rel=0.02)


METHODS_OF_STRENGTH = [("sum", "full"), ("sum", 4), ("karcher", "full"), ("ties", "full")]


@pytest.mark.slow
@pytest.mark.parametrize("method, rank", METHODS_OF_STRENGTH)
def test_automatic_strength_makes_the_result_as_large_as_its_largest_input(method, rank):
    inputs, weights = files(3), [1.0, -1.0, 0.2]

    def blended(strength):
        settings = Blend(weights, rank, method, strength=strength)
        edited = blend(inputs, settings=settings)
        return dense(edited.lora), edited.report

    parts = [dense(one) for one in inputs]
    sizes = {n: [abs(w) * float(p[n].norm()) for w, p in zip(weights, parts, strict=True)]
             for n in NAMES}  # fmt: skip
    plain, told = blended("none")
    exact = summed(inputs, weights) if method == "sum" else plain
    factors = {name: max(sizes[name]) / float(exact[name].norm()) for name in NAMES}
    layers, report = blended("auto")
    for row in report.modules:
        assert error(layers[row.module], factors[row.module] * plain[row.module]) < 1e-5
        assert row.strength == pytest.approx(factors[row.module], rel=1e-5)
        assert row.sizes == pytest.approx(sizes[row.module], rel=1e-5)
    whole = max(sum(sizes[n][i] ** 2 for n in NAMES) for i in range(3)) ** 0.5
    whole /= sum(float(exact[n].norm()) ** 2 for n in NAMES) ** 0.5
    file, one = blended("auto-file")
    assert all(error(file[name], whole * plain[name]) < 1e-5 for name in NAMES)
    # Every report says what automatic strength is, or would be.
    for each in (told, report, one):
        assert each.automatic_strength == pytest.approx(whole, rel=1e-5)
    assert f"auto-file would scale it by {whole:.3g}" in " ".join(told.summary())
    assert f"scaled by {whole:.3g}, to be" in " ".join(one.summary())
    assert "layers scaled by" in " ".join(report.summary())


@pytest.mark.slow
def test_the_sizes_of_inputs_are_known_whatever_a_module_is_made_of():
    """Of factors and matrices, of one input and of parts of a fused weight, of zeros."""
    one, other = flux_file("diffusers"), flux_file("kohya", seed=1)
    name = next(iter(dense(other)))
    full = {f"{raw}.diff": value.float() for raw, value in dense(other).items() if raw == name}
    for second in (other, full, {key: 0 * tensor for key, tensor in other.items()}):
        for rank in ("full", 2):
            report = blend(one, second, Blend((0.5, 2.0), rank)).report
            parts = [blend(each, settings=Blend(rank="full")).report for each in (one, second)]
            norms = [sum(row.norm**2 for row in part.modules) ** 0.5 for part in parts]
            found = [0.0, 0.0]
            for row in report.modules:
                for index, size in zip(row.inputs, row.sizes, strict=True):
                    found[index] += size**2
            expected = [0.5 * norms[0], 2.0 * norms[1]]
            assert [f**0.5 for f in found] == pytest.approx(expected, rel=1e-4)
    assert blend(one, settings=Blend((0.5,))).report.automatic_strength is None


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"method": "magic"}, "method 'magic' is unknown"),
        ({"method": "ties", "parameters": {"speed": 1}}, "no parameter 'speed'"),
        ({"method": "ties", "parameters": {"density": 2.0}}, "out of range"),
        ({"truncation": "magic"}, "truncation 'magic' is unknown"),
        ({"strength": "loud"}, "strength 'loud' is unknown"),
    ],
)
def test_settings_that_mean_nothing_are_refused_before_a_file_is_read(settings, words):
    with pytest.raises(LoraError, match=words):
        Blend(**settings)
