"""Every kind blended with every other, resized, and weighed by its norms."""

import pytest
import torch

from core import Blend, RankRule, blend, resize
from core.merging.balance import BALANCES
from tests import helpers
from tests.core.kinds import EXACT, changes, loha, lokr
from tests.helpers import error, lora, randn

NAME = "diffusion_model.blocks.0.self_attn.q"
SIZE = (16, 12)


def stored_as(kind: str, seed=0) -> dict[str, torch.Tensor]:
    return {
        "lora": lambda: lora(NAME, SIZE, 3, seed=seed),
        "loha thin": lambda: loha(NAME, *SIZE, 2, seed),
        "loha whole": lambda: loha(NAME, *SIZE, 4, seed),
        "lokr thin": lambda: lokr(NAME, (4, 1), (4, 12), seed),
        "lokr whole": lambda: lokr(NAME, (4, 3), (4, 4), seed),
        "difference": lambda: {f"{NAME}.diff": randn(SIZE, seed)},
    }[kind]()


MIXED = ("lora", "loha thin", "loha whole", "lokr thin", "lokr whole", "difference")


@pytest.mark.slow
@pytest.mark.parametrize("second", MIXED)
@pytest.mark.parametrize("first", MIXED)
def test_any_kind_blends_with_any_kind_as_the_weighted_sum(first, second):
    one, two = stored_as(first, 1), stored_as(second, 2)
    exact = 0.7 * changes(one)[NAME] - 0.4 * changes(two)[NAME]
    full = blend(one, two, Blend(weights=(0.7, -0.4), rank="full"), compute=EXACT)
    assert error(changes(full.lora)[NAME], exact) < 1e-6
    cut = blend(one, two, Blend(weights=(0.7, -0.4), rank=5), compute=EXACT)
    if first == second == "difference":
        assert list(cut.lora) == [f"{NAME}.diff"]
        return
    assert sorted(cut.lora) == [f"{NAME}.lora_A.weight", f"{NAME}.lora_B.weight"]
    found = error(changes(cut.lora)[NAME], exact)
    assert found == pytest.approx(helpers.best_error(exact, 5), abs=1e-6)
    assert cut.report.modules[0].relative_error == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("kind", MIXED[1:])
def test_resize_writes_lora(kind):
    tensors = stored_as(kind)
    exact = changes(tensors)[NAME]
    resized = resize(tensors, RankRule("rank", 4), compute=EXACT)
    assert sorted(resized.lora) == [f"{NAME}.lora_A.weight", f"{NAME}.lora_B.weight"]
    assert error(changes(resized.lora)[NAME], exact) == pytest.approx(
        helpers.best_error(exact, 4), abs=1e-6
    )


@pytest.mark.parametrize("kind", ["loha whole", "lokr whole", "difference"])
def test_resize_leaves_what_is_smaller_as_it_is(kind):
    tensors = stored_as(kind)
    resized = resize(tensors, RankRule("energy", 1.0), compute=EXACT)
    assert helpers.same_bits(resized.lora, tensors)
    assert resized.report.modules[0].note == "smaller as it is"


def test_norms_and_biases_blend_as_weighted_sums():
    def file(seed):
        name = "lycoris_layers_0_attention_norm1"
        return {f"{name}.w_norm": randn((6,), seed), f"{name}.b_norm": randn((6,), seed, "b"),
                "lycoris_layers_0_attention_out.diff_b": randn((6,), seed, "o")}  # fmt: skip

    one, two = file(1), file(2)
    written = blend(one, two, Blend(weights=(0.5, 2.0))).lora
    assert written.keys() == one.keys()
    for key, tensor in written.items():
        assert error(tensor, 0.5 * one[key].double() + 2.0 * two[key].double()) < 1e-6


@pytest.mark.parametrize("balance", ["softmax", "proportional"])
def test_balances_work_for_every_kind(balance):
    one = stored_as("lokr whole") | {"diffusion_model.blocks.0.norm3.diff_b": randn((6,), 1)}
    two = stored_as("difference") | {"diffusion_model.blocks.0.norm3.diff_b": randn((6,), 2)}
    report = blend(one, two, Blend(balance=BALANCES[balance](), rank=4)).report
    assert [row.action for row in report.modules] == ["blended", "blended"]
