"""Raw keys -> adapters. To add a kind, put its file into this folder and `register` it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from math import isfinite
from pkgutil import iter_modules

import torch
from torch import Tensor

from ..errors import LoraError
from ..files import TensorInfo
from ..low_rank import LowRank, Update
from .base_dependent import BOFT, DORA, OFT, SET
from .full import NORM_BIAS
from .kind import KINDS, Kind, Measure, register
from .lora import LORA, SUFFIX_PAIRS

__all__ = [
    "DROPPED",
    "KINDS",
    "LORA",
    "NORM_BIAS",
    "SET",
    "SUFFIX_PAIRS",
    "Adapter",
    "Kind",
    "Measure",
    "group",
    "register",
    "scalar",
]

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")


# Of these every entry is one of float32, and torch can do with them what updates need.
HANDY = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Adapter:
    """The tensors of one module's weight (or bias) in a file, still on disk.

    `keys` maps roles to raw keys ("alpha" among them where the file has one), `suffixes` to the
    ends of those keys. `modified` is the kind that a modifier such as DoRA modifies.
    """

    kind: Kind
    keys: dict[str, str]
    suffixes: dict[str, str] = field(default_factory=dict)
    modified: Kind | None = None

    def measure(self, info: Mapping[str, TensorInfo]) -> Measure:
        """What the shapes of its tensors tell; nothing where they are damaged."""
        shapes = {role: info[key].shape for role, key in self.keys.items()}
        try:
            return (self.modified or self.kind).measure(shapes)
        except IndexError:
            return Measure()

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
            tensor = read(key).to(device)
            stored = role in self.kind.as_stored and tensor.dtype in HANDY
            tensor = roles[role] = tensor if stored else tensor.to(dtype)
            if not finite(tensor):
                raise LoraError(
                    f"tensor {key} contains NaN or Inf; the file is damaged: retrain or "
                    "leave the layer out with the layers selector"
                )
        try:
            update = self.kind.update(roles, alpha)
            return update.computed_in(dtype) if isinstance(update, LowRank) else update
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


def finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or Inf; True for whole numbers."""
    if not tensor.is_floating_point():
        return True
    # A sum is finite unless an entry is not, or it overflows: then look closely.
    values = tensor.float() if tensor.dtype.itemsize == 1 else tensor
    return isfinite(values.sum().item()) or bool(torch.isfinite(values).all())


DROPPED = "the magnitude of a DoRA, left out as asked"
Groups = tuple[dict[tuple[str, str], Adapter], dict[str, str], dict[str, str]]


def group(info: Mapping[str, TensorInfo], drop_magnitude: bool) -> Groups:
    """Sort the tensors of a file into adapters.

    Returns ({(raw module name, "weight" or "bias"): adapter}, {key of no adapter: reason}, {key
    that does not count: reason}). `drop_magnitude` leaves DoRA's magnitudes out. Raises LoraError
    for a module that lacks a factor.
    """
    kind_of = {suffix: kind for kind in KINDS for suffix in kind.suffixes}
    endings = "|".join(map(re.escape, (*kind_of, ".alpha")))
    # The shortest name, and so the longest suffix.
    pattern = re.compile(f"(.+?)({endings})")
    found: dict[tuple[str, str], dict[Kind, dict[str, str]]] = {}
    alphas: dict[str, str] = {}
    rest: dict[str, str] = {}
    shadowed: dict[str, str] = {}
    for key in info:
        match = pattern.fullmatch(key)
        if match is None:
            rest[key] = "not part of an adapter kind that is known"
            continue
        raw, suffix = match.groups()
        kind = kind_of.get(suffix)
        if kind is None:
            alphas[raw] = key
        elif drop_magnitude and kind is DORA:
            shadowed[key] = DROPPED
        elif kind.beside and raw + kind.beside not in info:
            shadowed[key] = f"ComfyUI reads it only beside {raw}{kind.beside}"
        else:
            found.setdefault((raw, kind.parameter), {}).setdefault(kind, {})[suffix] = key
    modules = {}
    for (raw, parameter), kinds in found.items():
        adapters = {kind: _adapter(kind, keys, shadowed) for kind, keys in kinds.items()}
        chosen = _winner(raw, adapters, rest, shadowed)
        if chosen is None:
            continue
        if parameter == "weight" and raw in alphas:
            chosen.keys["alpha"] = alphas.pop(raw)
        if chosen.kind is OFT and len(info[chosen.keys["blocks"]].shape) == 4:
            chosen = replace(chosen, kind=BOFT)
        modules[raw, parameter] = chosen
    rest |= {key: "an alpha without factors" for key in alphas.values()}
    return modules, rest, shadowed


def _adapter(kind: Kind, keys: dict[str, str], shadowed: dict[str, str]) -> Adapter:
    """The adapter of one module's {suffix: key}; keys of another form than the chosen are left."""
    form = kind.form(keys)
    first = next(suffix for suffix in form if suffix in keys)
    reason = f"ComfyUI does not read it beside {keys[first]}"
    shadowed |= {key: reason for suffix, key in keys.items() if suffix not in form}
    roles = {form[suffix]: suffix for suffix in keys if suffix in form}
    return Adapter(kind, {role: keys[suffix] for role, suffix in roles.items()}, roles)


def _winner(
    raw: str, kinds: dict[Kind, Adapter], rest: dict[str, str], shadowed: dict[str, str]
) -> Adapter | None:
    """The adapter that ComfyUI applies of all that a file has for one module, or None."""
    ordered = sorted(kinds, key=lambda kind: kind.precedence)
    alone = [kind for kind in ordered if not kind.modifies]
    if not alone:
        for kind in ordered:
            rest |= {key: f"a {kind.name} without factors" for key in kinds[kind].keys.values()}
        return None
    chosen = kinds[alone[-1]]
    for kind in alone[:-1]:
        reason = f"ComfyUI lets the {chosen.kind.name} of this module replace it"
        shadowed |= {key: reason for key in kinds[kind].keys.values()}
    if role := chosen.kind.missing(chosen.keys):
        have = ", ".join(chosen.keys.values())
        raise LoraError(f"module {raw} has {have} but no {role} factor; the file is incomplete")
    for kind in (kind for kind in ordered if kind.modifies):
        modifier, modified = kinds[kind], chosen.modified or chosen.kind
        if modified not in kind.modifies:
            reason = f"ComfyUI does not apply it to a {modified.name}"
            shadowed |= {key: reason for key in modifier.keys.values()}
            continue
        # The modifier and what it modifies are one adapter.
        keys, suffixes = chosen.keys | modifier.keys, chosen.suffixes | modifier.suffixes
        chosen = Adapter(kind, keys, suffixes, modified)
    return chosen
