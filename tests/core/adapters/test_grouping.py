"""Sorting tensors into adapters: what belongs together, what counts, and what is refused."""

import re
from itertools import combinations

import pytest
import torch

from core import Blend, Lora, LoraError, StateDict, blend, select
from core.adapters.kind import KINDS
from tests import helpers
from tests.core.kinds import CPU, changes, glora, loha, lokr
from tests.helpers import error, lora, randn

SIZE = (16, 12)


# As ComfyUI 0.33's load_lora asks for them: what it finds later replaces what it found.
IN_COMFYUIS_ORDER = {
    "LoRA": lora("x", SIZE, 2),
    "LoHa": loha("x", *SIZE, 2),
    "LoKr": lokr("x", (4, 3), (4, 4)),
    "GLoRA": glora("x", *SIZE, 2),
    "OFT": {"x.oft_blocks": randn((2, 8, 8))},
    "norm": {"x.w_norm": torch.ones(SIZE)},
    "difference": {"x.diff": torch.ones(SIZE)},
    "set weight": {"x.set_weight": torch.ones(SIZE)},
}


@pytest.mark.parametrize("first, second", list(combinations(IN_COMFYUIS_ORDER, 2)))
def test_of_two_kinds_the_later_in_comfyuis_loader_counts(first, second):
    files = IN_COMFYUIS_ORDER[first], IN_COMFYUIS_ORDER[second]
    for one, other in (files, files[::-1]):
        (module,) = Lora(StateDict(one | other)).modules.values()
        assert module.adapter.kind.name == second


def test_of_two_biases_the_later_in_comfyuis_loader_counts():
    norm = {"x.w_norm": torch.ones(6), "x.b_norm": torch.ones(6)}
    bias = {"x.diff_b": torch.ones(6)}
    for file in (norm | bias, bias | norm):
        assert Lora(StateDict(file)).modules["x.bias"].adapter.kind.name == "bias"


def test_a_dora_may_be_of_a_weight_that_is_reshaped():
    magnitude = {"x.dora_scale": torch.ones(16, 1)}
    larger = {"x.reshape_weight": torch.tensor([16, 12])}
    for file in (magnitude | larger, larger | magnitude):
        (module,) = Lora(StateDict(lora("x", SIZE, 2) | file)).modules.values()
        assert module.adapter.kind.name == "reshaped weight"
        assert {"magnitude", "reshape", "up", "down"} <= set(module.adapter.keys)


def test_of_two_kinds_for_one_module_the_other_is_named():
    tensors = lora("x", SIZE, 2) | loha("x", *SIZE, 2)
    read = Lora(StateDict(tensors))
    (module,) = read.modules.values()
    assert module.adapter.kind.name == "LoHa"
    assert sorted(read.shadowed) == ["x.lora_A.weight", "x.lora_B.weight"]
    assert "replace it" in read.shadowed["x.lora_A.weight"]


def test_a_magnitude_counts_only_for_what_it_can_modify():
    magnitude = {"x.dora_scale": torch.ones(16, 1)}
    read = Lora(StateDict(lora("x", SIZE, 2) | magnitude))
    assert [m.adapter.kind.name for m in read.modules.values()] == ["DoRA"]
    assert [m.rank for m in read.modules.values()] == [2]
    read = Lora(StateDict({"x.diff": torch.ones(16, 12)} | magnitude))
    assert [m.adapter.kind.name for m in read.modules.values()] == ["difference"]
    assert "does not apply it to a difference" in read.shadowed["x.dora_scale"]
    read = Lora(StateDict(lora("y", SIZE, 2) | magnitude))
    assert read.other == {"x.dora_scale": "a DoRA without factors"}


def test_a_middle_kernel_counts_only_beside_kohyas_factors():
    mid = {"x.lora_mid.weight": torch.ones(2, 2, 3, 3)}
    kohya = lora("x", (8, 6, 3, 3), 2, helpers.KOHYA, mid=True)
    assert Lora(StateDict(kohya)).shadowed == {}
    peft = lora("x", (8, 6, 3, 3), 2, helpers.PEFT)
    read = Lora(StateDict(peft | mid))
    assert read.shadowed == {"x.lora_mid.weight": "ComfyUI does not read it beside x.lora_B.weight"}
    assert error(changes(peft | mid)["x"], changes(peft)["x"]) == 0
    edited = select(StateDict(peft | mid), "")[0]
    assert helpers.same_bits(edited.lora, peft)
    assert "does not read it" in edited.report.dropped["state dict: x.lora_mid.weight"]


def test_factors_are_never_taken_from_two_pairs():
    """ComfyUI goes by the name of up; what is beside it under other names does not count."""
    peft, kohya = lora("x", SIZE, 2), lora("x", SIZE, 3, helpers.KOHYA, seed=1)
    read = Lora(StateDict(peft | {"x.lora_down.weight": kohya["x.lora_down.weight"]}))
    assert list(read.shadowed) == ["x.lora_down.weight"]
    assert [m.rank for m in read.modules.values()] == [2]
    with pytest.raises(LoraError, match=r"module x: has x.lora_up.weight but no down factor"):
        Lora(StateDict(peft | {"x.lora_up.weight": kohya["x.lora_up.weight"]}))


def test_a_norms_bias_counts_only_beside_its_weight():
    bias, weight = {"x.b_norm": randn((6,))}, {"x.w_norm": randn((6,), 1)}
    with pytest.raises(LoraError, match=r"b_norm \(ComfyUI reads it only beside x\.w_norm\)"):
        Lora(StateDict(bias))
    read = Lora(StateDict(bias | {"y.w_norm": randn((6,))}))
    assert list(read.modules) == ["y"] and list(read.shadowed) == ["x.b_norm"]
    assert list(Lora(StateDict(bias | weight)).modules) == ["x.bias", "x"]


def test_a_norms_bias_that_loses_its_weight_is_written_as_one_that_comfyui_reads():
    file = {"x.w_norm": randn((6,), 1), "x.b_norm": randn((6,), 2)}
    kept = select(StateDict(file), "x.bias")[0].lora
    assert helpers.same_bits(kept, {"x.diff_b": file["x.b_norm"]})
    # The weights cancel, the bias stays; a weight of another kind does not make up for it.
    only_weight = {"x.w_norm": file["x.w_norm"]}
    cancelled = blend(StateDict(file), StateDict(only_weight), Blend(weights=(1.0, -1.0))).lora
    assert list(cancelled) == ["x.diff_b"]
    plain = {"x.diff": randn((6,), 3)}
    assert set(blend(StateDict(plain), StateDict(file)).lora) == {"x.diff", "x.diff_b"}
    assert set(blend(StateDict(file), StateDict(plain)).lora) == set(file)


@pytest.mark.parametrize("pair", helpers.PAIRS, ids=str)
@pytest.mark.parametrize("missing", [0, 1], ids=["up", "down"])
def test_a_lora_that_lacks_a_factor_is_refused(pair, missing):
    tensors = lora("x", SIZE, 2, pair)
    there = [key for key in tensors if not key.endswith(pair[missing])]
    with pytest.raises(LoraError, match=rf"module x: has {re.escape(there[0])} but no"):
        Lora(StateDict({key: tensors[key] for key in there}))


@pytest.mark.parametrize("flat", [0, 1], ids=["up", "down"])
def test_a_factor_that_is_no_matrix_is_refused(flat):
    tensors = {"x.lora_up.weight": torch.ones(3, 3), "x.lora_down.weight": torch.ones(3, 3)}
    tensors[list(tensors)[flat]] = torch.ones(3)
    (module,) = Lora(StateDict(tensors)).modules.values()
    with pytest.raises(LoraError, match="must be matrices"):
        module.update(CPU, torch.float64)


def test_two_products_of_different_shapes_are_named_with_them():
    (module,) = Lora(
        StateDict(loha("x", 4, 4, 2) | {"x.hada_w2_b": randn((2, 5))})
    ).modules.values()
    with pytest.raises(LoraError, match=r"\(4, 4\) and \(4, 5\)"):
        module.update(CPU, torch.float64)


@pytest.mark.parametrize("missing", ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"])
def test_a_loha_that_lacks_a_factor_is_refused(missing):
    tensors = loha("x", *SIZE, 2)
    del tensors[f"x.{missing}"]
    with pytest.raises(LoraError, match=r"module x: has .* but no w\d_. factor"):
        Lora(StateDict(tensors))


@pytest.mark.parametrize("missing", ["w1", "w2"])
def test_a_lokr_that_lacks_a_factor_is_refused(missing):
    tensors = lokr("x", (4, 3), (4, 4))
    del tensors[f"x.lokr_{missing}"]
    with pytest.raises(LoraError, match=rf"no {missing} \| {missing}_a {missing}_b factor"):
        Lora(StateDict(tensors))


@pytest.mark.parametrize(
    "tensors",
    [
        loha("x", 4, 4, 2) | {"x.hada_w1_b": torch.ones(3, 4)},
        loha("x", 4, 4, 2) | {"x.hada_w2_b": torch.ones(2, 5)},
        loha("x", 4, 4, 2) | {"x.hada_w2_a": torch.ones(5, 2)},
        loha("x", 4, 4, 2) | {"x.hada_w1_a": torch.ones(4)},
        loha("x", 4, 4, 2) | {"x.hada_t1": torch.ones(2, 2, 3, 3)},
        loha("x", 4, 4, 0),
        lokr("x", (2, 2, 3), (2, 2)),
        lokr("x", (2,), (2, 2)),
        lokr("x", (0, 2), (2, 2)),
        {"x.lokr_w1": torch.ones(2, 2)} | {f"x.lokr_w2_{s}": torch.ones(2, 3) for s in "ab"},
        lokr("x", (2, 2), (2, 2)) | {"x.lokr_w1": torch.full((2, 2), float("nan"))},
    ],
)  # fmt: skip
def test_factors_that_do_not_fit_are_refused_by_name(tensors):
    lora = Lora(StateDict(tensors, name="broken"))
    with pytest.raises(LoraError, match=r"broken: module x: .*x\.(hada|lokr)_"):
        for module in lora.modules.values():
            module.update(CPU, torch.float64)


def test_every_kind_has_suffixes_of_its_own():
    suffixes = [suffix for kind in KINDS for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))
    for kind in KINDS:
        assert (kind.update is None) == bool(kind.needs_base)
