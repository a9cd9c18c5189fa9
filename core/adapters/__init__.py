"""Adapter kinds: what each stored form means. To add one, write its file and list it in KINDS."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import LoraError
from ..low_rank import Update
from .base_dependent import DORA, GLORA, OFT, RESHAPE, SET
from .full import BIAS, DIFFERENCE, NORM, NORM_BIAS
from .kind import Kind
from .lora import LORA, SUFFIX_PAIRS

__all__ = ["KINDS", "LORA", "SUFFIX_PAIRS", "Adapter", "Kind", "group"]

# In the order of ComfyUI's loader, where a later kind of the same weight replaces an earlier one.
# The kinds that only modify another one (DoRA, reshape) come last: they claim the whole module.
KINDS: tuple[Kind, ...] = (
    LORA,
    GLORA,
    OFT,
    NORM,
    NORM_BIAS,
    DIFFERENCE,
    BIAS,
    SET,
    DORA,
    RESHAPE,
)
MODIFIERS = (DORA, RESHAPE)

_ROLES = {suffix: (kind, role) for kind in KINDS for suffix, role in kind.suffixes.items()}
_SUFFIX = re.compile(
    "(.+?)(" + "|".join(map(re.escape, sorted([*_ROLES, ".alpha"], key=len, reverse=True))) + ")"
)


@dataclass(frozen=True)
class Adapter:
    """The tensors of one module's weight (or bias) in a file, still on disk.

    `keys` maps roles to raw keys ("alpha" among them where the file has one), `suffixes` to the
    ends of those keys.
    """

    kind: Kind
    keys: dict[str, str]
    suffixes: dict[str, str] = field(default_factory=dict)

    def update(
        self, read: Callable[[str], Tensor], device: torch.device, dtype: torch.dtype
    ) -> Update:
        """The change of the weight at strength 1. Raises LoraError for NaN, Inf, or bad shapes."""
        assert self.kind.update is not None
        roles, alpha = {}, None
        for role, key in self.keys.items():
            if role == "alpha":
                alpha = scalar(read(key), key)
                continue
            tensor = roles[role] = read(key).to(device, dtype)
            # A sum is finite unless an entry is not, or the entries are absurd: then look closely.
            if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
                raise LoraError(
                    f"tensor {key} contains NaN or Inf; the file is damaged: retrain or "
                    "leave the layer out with the layers selector"
                )
        try:
            return self.kind.update(roles, alpha)
        except LoraError as error:
            names = ", ".join(key for role, key in self.keys.items() if role != "alpha")
            raise LoraError(f"{names}: {error}") from error


def scalar(tensor: Tensor, key: str) -> float:
    """The value of a stored alpha: 0-d or one element, of any dtype."""
    if tensor.numel() != 1:
        raise LoraError(f"tensor {key} must hold one number, its shape is {tuple(tensor.shape)}")
    value = float(tensor.float())
    if value != value or abs(value) == float("inf"):
        raise LoraError(f"tensor {key} is {value}; the scale of the layer is unknown")
    return value


Groups = tuple[dict[tuple[str, str], Adapter], dict[str, str], dict[str, str]]


def group(keys: Iterable[str]) -> Groups:
    """Sort raw keys into adapters.

    Returns ({(raw module name, "weight" or "bias"): adapter}, {key of no adapter: reason}, {key
    that ComfyUI does not read: reason}). Raises LoraError for a module that lacks a factor.
    """
    found: dict[tuple[str, str], dict[Kind, Adapter]] = {}
    alphas: dict[str, str] = {}
    rest: dict[str, str] = {}
    shadowed: dict[str, str] = {}
    for key in keys:
        match = _SUFFIX.fullmatch(key)
        if match is None:
            rest[key] = "not part of an adapter kind that is known"
            continue
        raw, suffix = match.groups()
        if suffix == ".alpha":
            alphas[raw] = key
            continue
        kind, role = _ROLES[suffix]
        kinds = found.setdefault((raw, kind.parameter), {})
        adapter = kinds.setdefault(kind, Adapter(kind, {}))
        if role in adapter.keys:
            # Two suffix pairs for one module: ComfyUI takes the first pair of its list.
            order = list(kind.suffixes)
            if order.index(suffix) > order.index(adapter.suffixes[role]):
                shadowed[key] = f"ComfyUI reads {adapter.keys[role]} instead"
                continue
            shadowed[adapter.keys[role]] = f"ComfyUI reads {key} instead"
        adapter.keys[role], adapter.suffixes[role] = key, suffix
    modules = {}
    for (raw, parameter), kinds in found.items():
        adapter = _winner(raw, kinds, shadowed)
        if parameter == "weight" and raw in alphas:
            adapter.keys["alpha"] = alphas.pop(raw)
        modules[raw, parameter] = adapter
    rest |= {key: "an alpha without factors" for key in alphas.values()}
    return modules, rest, shadowed


def _winner(raw: str, kinds: dict[Kind, Adapter], shadowed: dict[str, str]) -> Adapter:
    ordered = sorted(kinds, key=KINDS.index)
    chosen = kinds[ordered[-1]]
    for kind in ordered[:-1]:
        if chosen.kind in MODIFIERS:
            # The modifier and what it modifies are one adapter.
            chosen.keys.update(kinds[kind].keys)
            chosen.suffixes.update(kinds[kind].suffixes)
        else:
            reason = f"ComfyUI lets the {chosen.kind.name} of this module replace it"
            shadowed |= {key: reason for key in kinds[kind].keys.values()}
    for role in chosen.kind.required:
        if role not in chosen.keys:
            have = ", ".join(chosen.keys.values())
            raise LoraError(f"module {raw} has {have} but no {role} factor; the file is incomplete")
    return chosen
