"""The notebooks' names: the arguments and meaning of shared notes on the original notebooks."""

import inspect

import pytest
import torch

import core
from core import (
    LoraError,
    blend_and_convert_loras_streaming,
    dyn_weights_proportional,
    softmax_spectral_weight_fn,
)
from tests.helpers import (
    KOHYA,
    PEFT,
    assert_close,
    best_error,
    dense,
    error,
    lora_file,
    same_bits,
    save,
    weighted,
)

NAMES = [f"transformer.transformer_blocks.{i}.attn.to_q" for i in (0, 1, 10)]
LAST = "transformer.proj_out"
FIRST, SECOND = lora_file(NAMES, seed=1), lora_file([*NAMES[1:], LAST], seed=2)

run = blend_and_convert_loras_streaming


def test_the_arguments_are_those_of_the_notebook():
    found = {
        name: parameter.default
        for name, parameter in inspect.signature(run).parameters.items()
        if name not in ("output_path", "progress")
    }
    assert list(found.items()) == [
        ("lora1", inspect.Parameter.empty),
        ("lora2", None),
        ("w1", 1.0),
        ("w2", 1.0),
        ("target_rank", 32),
        ("compute_device", None),
        ("compute_dtype", None),  # float32, without importing torch to say so
        ("include_bases", None),
        ("drop_near_zero", True),
        ("zero_tol", 1e-12),
        ("factor_method", "svd"),
        ("block_rules", None),
        ("dynamic_weight_fn", None),
        ("dyn_norm_iters", 40),
    ]


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("softmax_spectral_weight_fn", {"temperature": 1.0, "floor": 0.0}),
        ("dyn_weights_proportional", {"target_total_strength": 1.0, "floor": 0.02}),
        ("dyn_weights_softmax", {"target_total_strength": 1.0, "temperature": 1.0, "floor": 0.0}),
        ("dyn_weights_powerlaw", {"target_total_strength": 1.0, "p": 0.5, "floor": 0.02}),
        (
            "dyn_weights_margin_sigmoid",
            {"target_total_strength": 1.0, "temperature": 1.0, "bias": 0.0, "floor": 0.02},
        ),
    ],
)
def test_the_factories_take_what_they_took(name, arguments):
    parameters = inspect.signature(getattr(core, name)).parameters
    assert [(key, p.default) for key, p in parameters.items()] == list(arguments.items())
    assert name in core.__all__


def test_it_returns_a_state_dict_of_the_weighted_union():
    result = run(FIRST, SECOND, 0.7, -0.4, target_rank=None)
    assert isinstance(result, dict) and all(t.device.type == "cpu" for t in result.values())
    assert_close(dense(result), weighted(FIRST, SECOND, 0.7, -0.4))


def test_one_file_is_a_pure_resize():
    result = run(FIRST, target_rank=2)
    for name, update in dense(FIRST).items():
        assert result[name + PEFT[1]].shape[0] == 2
        assert error(dense(result)[name], update) == pytest.approx(best_error(update, 2), rel=1e-4)


def test_alpha_counts():
    # The notebooks ignored it: every kohya file was blended at the wrong strength.
    first = lora_file(["a"], KOHYA, alpha=1.0)
    assert_close(dense(run(first, first, 1.0, 1.0, None)), weighted(first, first, 1, 1))


@pytest.mark.parametrize("bases", [NAMES[:1], {NAMES[2], "unheard_of"}, [LAST, NAMES[1]]])
def test_include_bases_keeps_the_modules_listed(bases):
    result = run(FIRST, SECOND, include_bases=bases, target_rank=None)
    expected = weighted(FIRST, SECOND, 1, 1)
    assert_close(dense(result), {name: expected[name] for name in bases if name in expected})


def test_include_bases_are_names_not_patterns():
    # The second is no part of the first, though its name begins with it.
    names = ["net.a", "net.a.b", "net.2-1.c"]
    file = lora_file(names)
    for name in names:
        assert set(dense(run(file, include_bases=[name]))) == {name}


def test_include_bases_may_be_canonical_and_must_name_something():
    file = lora_file(["lora_unet_blocks_0_self_attn_q", "lora_unet_blocks_1_self_attn_q"])
    result = run(file, include_bases=["blocks.0.self_attn.q"])
    assert set(dense(result)) == {"lora_unet_blocks_0_self_attn_q"}
    with pytest.raises(LoraError, match="selected"):
        run(FIRST, SECOND, include_bases=["unheard_of"])


@pytest.mark.parametrize(
    "rules, expected",
    [
        ([("transformer", 2.0, 3.0)], {0: (2, 3), 1: (2, 3), 2: (2, 3)}),
        (
            [("transformer.transformer_blocks.1", 0.5, 1.0), ("transformer", 2.0, 3.0)],
            {0: (2, 3), 1: (0.5, 1), 2: (0.5, 1)},  # a prefix of characters: 1 fits 10, too
        ),
        ([("transformer.transformer_blocks.1.", 0.5, 1.0)], {0: (1, 1), 1: (0.5, 1), 2: (1, 1)}),
        ([("unheard_of", 9.0, 9.0)], {0: (1, 1), 1: (1, 1), 2: (1, 1)}),
    ],
)
def test_the_longest_prefix_of_block_rules_wins(rules, expected):
    found = dense(run(FIRST, SECOND, 1.0, -1.0, None, block_rules=rules))
    one, two = dense(FIRST), dense(SECOND)
    for index, (w1, w2) in expected.items():
        name = NAMES[index]
        wanted = w1 * one[name] - (w2 * two[name] if name in two else 0)
        assert error(found[name], wanted) < 1e-5


def test_dynamic_weights_get_name_and_norms_and_multiply():
    calls = {}

    def rule(name, s1, s2):
        calls[name] = (s1, s2)
        return (2.0, 0.5)

    found = dense(run(FIRST, SECOND, 0.5, 1.0, None, dynamic_weight_fn=rule))
    assert_close(found, weighted(FIRST, SECOND, 1.0, 0.5))
    one, two = dense(FIRST), dense(SECOND)
    assert len(calls) == 4 and sum(s2 is None for _, s2 in calls.values()) == 1
    norms = {torch.linalg.svdvals(update)[0].item() for update in (*one.values(), *two.values())}
    for norm in (s for pair in calls.values() for s in pair if s is not None):
        assert min(abs(norm - other) / other for other in norms) < 1e-6


@pytest.mark.parametrize("make", [softmax_spectral_weight_fn, dyn_weights_proportional])
def test_ready_made_rules_fit(make):
    assert set(dense(run(FIRST, SECOND, dynamic_weight_fn=make()))) == {*NAMES, LAST}


@pytest.mark.parametrize("method", ["svd", "pca_lowrank"])
def test_both_factor_methods(method):
    result = run(FIRST, SECOND, target_rank=3, factor_method=method)
    for name, update in weighted(FIRST, SECOND, 1, 1).items():
        assert error(dense(result)[name], update) < 1.05 * best_error(update, 3) + 1e-6
    with pytest.raises(LoraError, match="factor_method"):
        run(FIRST, SECOND, factor_method="magic")


def test_the_singular_values_are_shared_evenly():
    result = run(FIRST, SECOND, target_rank=3)
    up, down = (result[NAMES[1] + suffix] for suffix in PEFT)
    assert torch.allclose(up.T @ up, down @ down.T, atol=1e-5)


def test_near_zero_layers_are_dropped_on_request():
    other = {key: t for key, t in FIRST.items() if NAMES[0] not in key}
    assert set(dense(run(FIRST, other, 1.0, -1.0))) == {NAMES[0]}
    kept = dense(run(FIRST, other, 1.0, -1.0, drop_near_zero=False))
    assert set(kept) == set(NAMES) and not kept[NAMES[1]].any()
    with pytest.raises(LoraError, match="removed every module"):
        run(FIRST, FIRST, 1.0, 0.5, zero_tol=1e9)


def test_paths_dicts_and_an_output_path_agree(tmp_path):
    paths = [save(FIRST, tmp_path / "a.safetensors"), save(SECOND, tmp_path / "b.safetensors")]
    seen = []
    out = run(*paths, 0.5, 0.5, output_path=tmp_path / "o", progress=lambda *c: seen.append(c))
    from safetensors.torch import load_file

    assert same_bits(load_file(out), run(FIRST, SECOND, 0.5, 0.5))
    assert same_bits(run(*paths, 0.5, 0.5), run(FIRST, SECOND, 0.5, 0.5))
    assert [call[:2] for call in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), None])
def test_device_and_dtype_are_taken(device):
    result = run(FIRST, target_rank=2, compute_device=device, compute_dtype=torch.float64)
    assert set(dense(result)) == set(NAMES)
