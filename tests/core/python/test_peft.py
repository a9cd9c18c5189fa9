"""PEFT in and out, against what PEFT itself computes."""

import peft
import pytest
import torch
from torch import nn

import core
from tests.helpers import dense, error

CPU = torch.device("cpu")


class Net(nn.Module):
    """Two layers under names that diffusers has in Flux."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.x_embedder = nn.Linear(6, 8)
        self.proj_out = nn.Linear(8, 5)

    def forward(self, x):
        return self.proj_out(torch.tanh(self.x_embedder(x)))


def trained(net, rslora=False):
    config = peft.LoraConfig(
        r=3, lora_alpha=6, target_modules=["x_embedder", "proj_out"], use_rslora=rslora,
        rank_pattern={"proj_out": 2}, init_lora_weights=False,
    )  # fmt: skip
    return peft.get_peft_model(net, config)


@pytest.mark.parametrize("rslora", [False, True])
def test_a_model_s_adapter_is_what_peft_adds(rslora):
    model = trained(Net(), rslora)
    lora = core.from_peft(model)
    found = {m.raw.removeprefix("transformer."): m for m in lora.modules.values()}
    for name, module in found.items():
        layer = model.base_model.model.get_submodule(name)
        exact = layer.get_delta_weight("default").detach()
        update = module.update(CPU, torch.float64)
        assert error(update.dense() if hasattr(update, "dense") else update.values, exact) < 1e-6
    assert len(found) == 2


def test_there_and_back_is_the_same_model():
    net = Net()
    x = torch.randn(4, 6)
    base = net(x)
    model = trained(net)
    expected = model(x).detach()
    lora = core.from_peft(model)
    fresh = Net()
    assert torch.equal(fresh(x), base)
    assert torch.allclose(core.to_peft(lora, fresh)(x), expected, atol=1e-5)
    # An edit is tried without a file.
    halved = core.blend(lora, settings=core.Blend((0.5,), "full")).lora
    half = dense(halved)["transformer.proj_out"]
    twice = core.to_peft(halved, Net())
    assert error(twice.proj_out.get_delta_weight("default").detach(), half) < 1e-5


def test_what_does_not_fit_is_an_error():
    with pytest.raises(core.SettingError, match="no layer of the model has a LoRA"):
        core.from_peft(Net())
    lora = {"other.lora_A.weight": torch.ones(2, 6), "other.lora_B.weight": torch.ones(8, 2)}
    with pytest.raises(core.MismatchError, match="no layer like"):
        core.to_peft(lora, Net())
