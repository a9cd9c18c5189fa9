"""What the settings of a blend do: layers, block weights, balance, method, and bad values."""

import pytest
import torch
from safetensors.torch import save_file

from core import Blend, LoraError, blend, dyn_weights_proportional
from tests.core.edits.weights import FIRST, NAMES, SECOND, blended, weights_of
from tests.helpers import assert_close, best_error, dense, error, lora, lora_file, weighted


@pytest.mark.parametrize(
    "layers, expected",
    [
        ("blocks.0", NAMES[:2]),
        ("*.attn, -blocks.1", [NAMES[0], NAMES[3]]),
        ("-*mlp", [NAMES[0], *NAMES[2:]]),
    ],
)
def test_layers_chooses_the_modules_and_names_the_rest(layers, expected):
    result = blended(layers=layers)
    assert_close(dense(result.lora), {n: weighted(FIRST, SECOND, 1, 1)[n] for n in expected})
    assert result.report.dropped == dict.fromkeys(set(NAMES) - set(expected), "not selected")


def test_balance_weighs_the_files_by_their_spectral_norms():
    second = {key: t for key, t in SECOND.items() if "mlp" not in key}
    result = blended(second=second, weights=(1.0, -0.5), balance=dyn_weights_proportional(2.0))
    norms = [
        {n: float(torch.linalg.svdvals(u)[0]) for n, u in dense(f).items()} for f in (FIRST, second)
    ]
    for name, (w1, w2) in weights_of(result, FIRST, second).items():
        s1, s2 = norms[0][name], norms[1].get(name, 0.0)
        # Multipliers proportional to the norms, then w1 s1 + w2 s2 = target; then the weights.
        strength = 2.0 / (s1 * s1 + s2 * s2)
        assert [w1, w2] == pytest.approx([s1 * strength, -0.5 * s2 * strength], abs=2e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_balance_that_gives_no_number_is_refused_by_module(value):
    with pytest.raises(LoraError, match=r"blocks\.0\.attn.*finite"):
        blended(balance=lambda name, s1, s2: (value, 1.0))


def test_pca_is_near_the_optimum_seeded_and_says_what_it_kept():
    shape = (60, 50)
    files = [lora_file(NAMES[:2], shape=shape, rank=12, seed=seed) for seed in (1, 2)]
    exact = weighted(*files, 1, 1)

    def run(**settings):
        return blended(*files, rank=6, truncation="pca", **settings)

    result = run()
    for row in result.report.modules:
        found = error(dense(result.lora)[row.module], exact[row.module])
        assert row.rank == 6 and row.relative_error == pytest.approx(found, rel=1e-3)
        assert found < 1.02 * best_error(exact[row.module], 6)
        rough = run(oversampling=0, power_iterations=0).report.modules[0]
        assert rough.relative_error > result.report.modules[0].relative_error
    first = result.lora["blocks.0.attn.lora_A.weight"]
    assert torch.equal(first, run().lora["blocks.0.attn.lora_A.weight"])
    assert not torch.equal(first, run(seed=1).lora["blocks.0.attn.lora_A.weight"])


def test_pca_without_truncation_is_exact():
    assert_close(dense(blended(truncation="pca", rank=50).lora), weighted(FIRST, SECOND, 1, 1))
    assert_close(dense(blended(truncation="pca").lora), weighted(FIRST, SECOND, 1, 1))


@pytest.mark.parametrize(
    "settings",
    [
        {"rank": 0},
        {"rank": -4},
        {"method": "magic"},
        {"weights": (float("nan"), 1.0)},
        {"weights": (1.0, float("-inf"))},
        {"oversampling": -1},
        {"power_iterations": -1},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(LoraError, match=r"rank|method|weights|oversampling"):
        Blend(**settings)


def test_weights_too_large_for_the_arithmetic_are_refused_by_module():
    for rank in ("full", 2):
        with pytest.raises(LoraError, match=r"blocks\.0\.attn"):
            blended(weights=(1e300, 1.0), rank=rank)


def test_the_total_error_counts_every_module():
    # One module is cut and others are not: the total is that of the whole file as one vector.
    files = [
        lora("cut", rank=8, shape=(30, 20), seed=1),
        lora("cut", rank=8, shape=(30, 20), seed=2),
    ]
    files[0] |= lora("copied", rank=2, seed=3)
    files[1] |= lora("n", seed=4) | {"d.diff": lora("d")["d.lora_B.weight"]}
    result = blended(*files, rank=4, weights=(1.0, 0.5))
    exact, found = weighted(*files, 1.0, 0.5), dense(result.lora)
    lost = sum(float((found[n] - exact[n]).square().sum()) for n in exact)
    whole = sum(float(exact[n].square().sum()) for n in exact)
    assert result.report.relative_error == pytest.approx((lost / whole) ** 0.5, rel=1e-3)


def test_a_speed_lora_at_another_weight_than_one_is_warned_about(tmp_path):
    for name, weight, warned in (("turbo", 0.5, True), ("turbo", 1.0, False), ("cat", 0.5, False)):
        path = tmp_path / f"{name}.safetensors"
        save_file(lora("diffusion_model.a", (8, 8), 2), path)
        notes = blend(path, None, Blend(weights=(weight,))).report.notes
        assert any("speed" in note for note in notes) == warned
