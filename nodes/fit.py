"""Does this LoRA fit this model? Core applies what fits and says nothing about the rest."""

from dataclasses import dataclass, field
from math import prod
from typing import Any

from ..core import UNKNOWN, Lora, MismatchError, Module, StateDict
from . import comfy_bridge

SHOWN = 5


@dataclass
class Fit:
    """Which modules of a LoRA change a model, by canonical name.

    `missing` are not in the model, `resized` are there with another shape; `text` and `network` are
    modules of a text encoder or diffusion model that is not connected.
    """

    name: str
    fitting: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    network: list[str] = field(default_factory=list)

    def facts(self) -> list[str]:
        """Plain lines for the node, one each."""
        modules = (self.fitting, self.missing, self.resized, self.text, self.network)
        parts = [f"{len(self.fitting)} of {sum(map(len, modules))} modules applied"]
        for names, what in (
            (self.missing, "are not in this model"),
            (self.resized, "have another shape in this model"),
            (self.text, "are for the text encoder, and no clip is connected"),
            (self.network, "are for the diffusion model, and no model is connected"),
        ):
            if names:
                more = ", ..." if len(names) > SHOWN else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:SHOWN])}{more})")
        return parts

    def summary(self) -> str:
        """All of it in a line, before which the log has the name."""
        return "; ".join(self.facts())

    @property
    def partial(self) -> bool:
        return bool(self.missing or self.resized or self.text or self.network)


def check_fit(lora: StateDict, model: Any, clip: Any) -> Fit:
    """Compare a LoRA with loaded models. Raises MismatchError when not one of its modules fits."""
    read = Lora(StateDict(comfy_bridge.as_comfyui_reads_it(lora), name=lora.name))
    known = comfy_bridge.lora_keys(model, clip)
    fit = Fit(read.name)
    for module in read.modules.values():
        target = known.get(module.raw)
        if target is not None:
            same = not target[1] or _numbers(module) in (0, target[1])
            (fit.fitting if same else fit.resized).append(module.canonical)
        elif module.name.encoder and clip is None:
            fit.text.append(module.canonical)
        elif not module.name.encoder and model is None:
            fit.network.append(module.canonical)
        else:
            fit.missing.append(module.canonical)
    if not fit.fitting:
        raise _misfit(fit, read, model, clip)
    return fit


def _numbers(module: Module) -> int:
    """How many numbers the weight has that this module is for; 0 where that is not plain."""
    keys, info = module.adapter.keys, module.tensors.info
    if not module.adapter.kind.factors or "mid" in keys or module.parameter == "bias":
        return 0
    return info[keys["up"]].shape[0] * prod(info[keys["down"]].shape[1:])


def _misfit(fit: Fit, lora: Lora, model: Any, clip: Any) -> MismatchError:
    count = len(lora.modules)
    for modules, what, socket in (
        (fit.text, "a text encoder", "clip"),
        (fit.network, "a diffusion model", "model"),
    ):
        if len(modules) == count:
            problem = f"all of its {count} modules are for {what}"
            return MismatchError(problem, fix=f"connect {socket}", file=lora.name)
    this = comfy_bridge.model_name(model, clip)
    made_for = "a model of unknown family" if lora.family is UNKNOWN else lora.family.name
    example = next(iter(lora.modules.values())).raw
    which = "have another shape" if fit.resized else "are not in it"
    return MismatchError(
        f"made for {made_for}, this model is {this}, and not one of its {count} modules fits: "
        f"they {which}, such as {example}",
        fix="load the model that it was trained for, or choose another LoRA",
        file=lora.name,
    )
