"""PEFT in and out: an edit can be tried in a model without a file between."""

from __future__ import annotations

import contextlib
from typing import Any

from ..deferred import torch
from ..edits.convert import convert
from ..errors import MismatchError, SettingError
from ..naming.spelling import split_prefix
from ..reading.lora import Source
from ..running.output import Output
from ..storage.files import StateDict
from .lora import Lora

PEFT_PREFIX = "base_model.model."


def from_peft(model: Any, adapter: str = "default", prefix: str = "transformer") -> Lora:
    """The LoRA that a `model` carries: a PeftModel, or one of diffusers with an `adapter`.

    Every layer with that adapter becomes a module of the name that the model calls it by, after
    `prefix` (transformer or unet as diffusers saves them; empty for none), at the scale that PEFT
    applies it with. Raises SettingError where no layer has the adapter.

    >>> import peft, torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8))
    >>> model = peft.get_peft_model(net, peft.LoraConfig(r=4, lora_alpha=8, target_modules=["0"]))
    >>> core.from_peft(model).modules["0"].alpha
    8.0
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in model.named_modules():
        factors = getattr(layer, "lora_A", None), getattr(layer, "lora_B", None)
        if not all(isinstance(one, torch.nn.ModuleDict) and adapter in one for one in factors):
            continue
        down, up = (one[adapter].weight.detach() for one in factors)  # type: ignore[index]
        key = ".".join(filter(None, (prefix, name.removeprefix(PEFT_PREFIX))))
        scale = float(layer.scaling[adapter]) * down.shape[0]
        tensors |= {
            f"{key}.lora_A.weight": down.contiguous(),
            f"{key}.lora_B.weight": up.contiguous(),
            f"{key}.alpha": torch.tensor(scale),
        }
    if not tensors:
        raise SettingError(
            f"no layer of the model has a LoRA called {adapter!r}",
            fix="give the name of an adapter that it has",
        )
    return Lora(StateDict(tensors, name=f"adapter {adapter}"))


def to_peft(lora: Source, model: Any, adapter: str = "default") -> Any:
    """Put a `lora` into a `model`, as an `adapter` of PEFT; returns the model.

    The model is one of diffusers or any other whose layers have the names that the LoRA changes;
    its weights stay. Raises MismatchError where it has no layer of such a name, SettingError where
    a module is not stored as two factors.

    >>> import torch
    >>> net = torch.nn.ModuleDict({"0": torch.nn.Linear(8, 8)})
    >>> lora = {"0.lora_A.weight": torch.ones(4, 8), "0.lora_B.weight": torch.ones(8, 4)}
    >>> core.to_peft(lora, net)["0"].scaling["default"]
    1.0
    """
    import peft

    opened = Lora.of(lora)
    known = {name.removeprefix(PEFT_PREFIX).replace(".base_layer", "") for name, _ in
             model.named_modules()}  # fmt: skip
    found = _names(opened, known)
    if not found:  # Diffusers' models have diffusers' names.
        with contextlib.suppress(SettingError):
            edited = convert(opened, Output(spelling="diffusers"))
            found = _names(Lora.of(edited.lora), known)
    if not found:
        sample = next(iter(opened.modules.values())).raw
        raise MismatchError(
            f"the model has no layer like {sample}", fix="give the model that the LoRA is for",
            file=opened.name,
        )  # fmt: skip
    factors: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for name, module in found.items():
        if not module.adapter.factors or module.parameter == "bias":
            raise SettingError(
                f"is a {module.adapter.kind.name}, and PEFT takes two factors here",
                fix="resize it first, which writes LoRA", file=opened.name, module=name,
            )  # fmt: skip
        roles, alpha = module.adapter.roles(module.tensors.__getitem__, torch.device("cpu"),
                                            torch.float32)  # fmt: skip
        rank = roles["down"].shape[0]
        factors[name] = roles["up"] * ((alpha / rank) if alpha is not None else 1.0), roles["down"]
    ranks = {name: down.shape[0] for name, (_, down) in factors.items()}
    config = peft.LoraConfig(
        r=1,
        lora_alpha=1,
        target_modules=list(ranks),
        rank_pattern=ranks,
        alpha_pattern=dict(ranks),
    )
    inner: Any = model.base_model.model if isinstance(model, peft.PeftModel) else model
    peft.inject_adapter_in_model(config, inner, adapter)
    for name, (up, down) in factors.items():
        layer = inner.get_submodule(name)
        for mine, theirs in ((up, layer.lora_B), (down, layer.lora_A)):
            weight = theirs[adapter].weight
            with torch.no_grad():
                weight.copy_(mine.reshape(weight.shape).to(weight))
    return model


def _names(lora: Any, known: set[str]) -> dict[str, Any]:
    """{the model's name: module} of the modules that the model has."""
    found = {}
    for module in lora.modules.values():
        name = split_prefix(module.raw)[1]
        if name in known:
            found[name] = module
    return found if len(found) == len(lora.modules) else {}
