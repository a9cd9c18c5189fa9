"""Blending PEFT adapters, with PEFT's own merges of them as the oracle."""

import pytest
import torch
from torch import nn
from torch.nn import Conv2d, Linear

from core import Blend, blend, verify
from tests.helpers import dense, error, randn

pytestmark = pytest.mark.slow  # PEFT takes seconds to import.

PREFIX = "base_model.model."


class Net(nn.Module):
    """Two linear layers and a convolution."""

    def __init__(self):
        super().__init__()
        self.first = Linear(12, 20)
        self.second = Linear(20, 9)
        self.conv = Conv2d(3, 5, 3)

    def forward(self, x):
        return self.second(self.first(x))


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft")


@pytest.fixture(scope="module")
def model(peft):
    """Adapters "one" (rank 4) and "two" (rank 6) of scale 1: what a file without alpha means."""
    torch.manual_seed(0)
    targets = ["first", "second", "conv"]
    configs = [peft.LoraConfig(r=r, lora_alpha=r, target_modules=targets) for r in (4, 6)]
    model = peft.get_peft_model(Net(), configs[0], adapter_name="one")
    model.add_adapter("two", configs[1])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(randn(parameter.shape, name))
    return model


def state(model, adapter) -> dict[str, torch.Tensor]:
    """What PEFT itself would write."""
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(model, adapter_name=adapter)
    return {key: tensor.detach().clone() for key, tensor in tensors.items()}


def updates(model, adapter) -> dict[str, torch.Tensor]:
    """The change of every weight, as PEFT computes it when it merges an adapter."""
    layers = {name: module for name, module in model.base_model.model.named_children()}
    return {
        PREFIX + name: layer.get_delta_weight(adapter).detach().double().flatten(1)
        for name, layer in layers.items()
    }


def test_a_file_that_peft_writes_means_what_peft_computes(model):
    for adapter in ("one", "two"):
        exact, found = updates(model, adapter), dense(state(model, adapter))
        assert found.keys() == exact.keys()
        assert all(error(found[name], exact[name]) < 1e-6 for name in exact)


@pytest.mark.parametrize("w1, w2", [(0.7, 0.4), (1.0, 2.5)])
def test_a_full_blend_is_peft_s_cat(model, w1, w2):
    model.add_weighted_adapter(["one", "two"], [w1, w2], "cat", combination_type="cat")
    exact = updates(model, "cat")
    model.delete_adapter("cat")
    result = blend(state(model, "one"), state(model, "two"), Blend((w1, w2), "full")).lora
    found = dense(result)
    assert all(error(found[name], exact[name]) < 1e-5 for name in exact)


@pytest.mark.parametrize("rank", [2, 4])
def test_a_truncated_blend_is_peft_s_svd(model, rank):
    # PEFT decomposes the dense sum; convolutions it cuts along another way of writing them.
    model.add_weighted_adapter(
        ["one", "two"], [0.7, 0.4], "svd", combination_type="svd", svd_rank=rank
    )
    exact = updates(model, "svd")
    model.delete_adapter("svd")
    found = dense(blend(state(model, "one"), state(model, "two"), Blend((0.7, 0.4), rank)).lora)
    for name in ("first", "second"):
        assert error(found[PREFIX + name], exact[PREFIX + name]) < 1e-4


def test_peft_loads_the_blend_and_computes_it(peft, model):
    one, two = state(model, "one"), state(model, "two")
    result = blend(one, two, Blend((0.5, -1.5), "full")).lora
    config = peft.LoraConfig(r=10, lora_alpha=10, target_modules=["first", "second", "conv"])
    fresh = peft.get_peft_model(Net(), config, adapter_name="c")
    # Concatenated ranks are 4 + 6 wherever the weight has that many.
    fits = {key: t for key, t in result.items() if "first" in key}
    peft.set_peft_model_state_dict(fresh, fits, adapter_name="c")
    found = updates(fresh, "c")[PREFIX + "first"]
    exact = 0.5 * dense(one)[PREFIX + "first"] - 1.5 * dense(two)[PREFIX + "first"]
    assert error(found, exact) < 1e-5
    assert verify(result, [one, two], [0.5, -1.5]).relative_error < 1e-6
