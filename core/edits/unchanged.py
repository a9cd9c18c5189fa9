"""What an edit leaves as it is: a module copied to the bit, or written exactly in other words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import hypot

from ..adapters.adapter import Adapter
from ..adapters.full import PEFT_SUFFIX
from ..algebra.gram import length
from ..algebra.low_rank import LowRank
from ..algebra.precision import FEW, eps
from ..algebra.update import Dense, Update, distance, total
from ..deferred import Tensor, torch
from ..reading.module import Module
from ..reading.readers import is_peft
from ..running.encoding import Encoded, cast, encode, stored_tensors
from ..running.layout import Target
from ..running.report import Action, ModuleReport
from ..running.stream import Compute
from ..storage.files import DictTensors
from .edit import Outcome, same_bits


def unchanged(
    target: Target,
    dtype: torch.dtype,
    compute: Compute,
    cast: bool = False,
    with_norm: bool = True,
) -> Outcome:
    """The target's exact update: copied where it can be, in another spelling where it must be.

    `dtype` is that of what has to be computed anew; `cast` gives it to what is copied, too.
    """
    same = dtype if cast else None
    return copy(target, same, compute, with_norm) or converted(target, dtype, compute)


def copy(
    target: Target,
    dtype: torch.dtype | None,
    compute: Compute,
    with_norm: bool = True,
    weight: float = 1.0,
) -> Outcome | None:
    """`weight` times the target's only module in its own kind, or None where it has to be computed.

    A module can be copied when nothing cuts it, its row order stays and, for kinds whose suffixes
    belong to the spelling, its factors keep them; others only need the new name in front. What is
    baked becomes a plain update.
    `with_norm` gives the row its norm: what is copied counts in the total error, too. Raises
    FileError where the numbers are damaged.
    """
    module = target.only
    if module is None or module.name.swapped != target.name.swapped or module.scale != 1.0:
        return None
    if module.baked:
        return None
    style, adapter = target.spelling, module.adapter
    if target.parameter == "bias" and not same_bias(adapter.suffixes["values"], style.bias):
        return None
    if style.lora_only and target.parameter == "weight" and not is_peft(adapter):
        return None
    if adapter.kind.factors:
        same = (adapter.suffixes["up"], adapter.suffixes["down"]) == (style.up, style.down)
        renamed_mid = "mid" in adapter.keys and target.raw != module.raw
        if not same or ("alpha" in adapter.keys) != style.alpha or renamed_mid:
            return None
    if weight != 1.0:
        scaled = next((adapter.keys[r] for r in adapter.kind.linear if r in adapter.keys), None)
        if scaled is None or not module.tensors.info[scaled].floating:
            return None
    action: Action = "copied" if target.raw == module.raw else "converted"
    row = ModuleReport(target.canonical, action, [module.rank], module.rank)
    row.inputs = [target.contributions[0].input]
    tensors = stored_tensors(module, target.raw, dtype, weight)
    if weight != 1.0:
        row.action = "scaled"
    pairs = [
        (module.tensors[key], tensors[target.raw + adapter.suffixes[role]])
        for role, key in adapter.keys.items()
        if role != "alpha"
    ]
    moved = [pair for pair in pairs if not same_bits(*pair)]
    if adapter.kind.update is None:
        if moved:
            row.relative_error = row.rounding = hypot(*(_moved(*pair) for pair in moved))
            row.note = f"{adapter.kind.name}: the error is that of its tensors"
        return row, tensors
    # It tells damaged tensors; nothing is multiplied out before it is asked for.
    exact = module.update(compute.device, compute.dtype, lazy=True).scaled(weight)
    if moved:
        rounded = _as_written(module, target, tensors, compute)
        row.norm = exact.frobenius_norm()
        row.rounding = distance(exact, rounded) / row.norm if row.norm > 0 else 0.0
        row.relative_error = row.rounding
        if adapter.kind.factors and row.rounding > FEW * eps(
            module.dtype if dtype is None else dtype
        ):
            return None  # They cancel: other factors of the same update survive the rounding.
    elif with_norm:
        row.norm = exact.frobenius_norm()
    return row, tensors


def _moved(old: Tensor, new: Tensor) -> float:
    """How far a tensor is from what it was, relative to its size."""
    size = length(old.double())
    return length(new.double() - old.double()) / size if size > 0 else 0.0


def same_bias(suffix: str, other: str) -> bool:
    """Whether those who read a bias under one suffix find it under the other."""
    return suffix == other or PEFT_SUFFIX not in (suffix, other)


def _as_written(
    module: Module, target: Target, tensors: dict[str, Tensor], compute: Compute
) -> Update:
    """What the copy of a module means."""
    keys = {
        role: target.raw + module.adapter.suffixes.get(role, ".alpha")
        for role in module.adapter.keys
    }
    written = replace(
        module, adapter=replace(module.adapter, keys=keys), tensors=DictTensors(tensors)
    )
    update: Update = written.update(compute.device, compute.dtype, lazy=True)
    return update


def notes_of(row: ModuleReport, target: Target) -> str:
    """The row's note with what is to know about how its module was computed."""
    notes = [row.note, *(c.module.dimensions.note for c in target.contributions)]
    return "; ".join(dict.fromkeys(filter(None, notes)))


def converted(target: Target, dtype: torch.dtype, compute: Compute) -> Outcome:
    """The target's exact update under its own name, with no more rank than it needs."""
    modules = [c.module for c in target.contributions]
    update = total(target.updates(compute.device, compute.dtype))
    row = ModuleReport(target.canonical, "converted", [module.rank for module in modules])
    if isinstance(update, LowRank):
        update = thinned(update).steady(eps(dtype))
        row.rank = update.rank
    source = modules[0] if isinstance(update, Dense) else None
    row.note = notes_of(row, target)
    return written(row, encode(update, target, dtype, source), update.frobenius_norm())


def written(row: ModuleReport, encoded: Encoded, norm: float) -> Outcome:
    """The outcome, with the rounding of what is written in the row's error.

    What was cut off is orthogonal to what was kept, and so are their errors.
    """
    row.norm = norm
    row.rounding = encoded.error / norm if norm > 0 else 0.0
    row.relative_error = hypot(row.relative_error, row.rounding)
    return row, encoded.tensors


def thinned(update: LowRank) -> LowRank:
    """The same update without the columns that fusing and splitting leave behind.

    A weight that was fused from parts has zeros in a part's rows, in the columns of the others.
    Parts that were split from a weight share their `down`: their columns of `up` belong together.
    """
    if not (update.up.numel() and update.down.numel()):
        return update
    needed = update.up.any(dim=0) & update.down.any(dim=1)
    needed[:1] |= not needed.any()  # A file has at least rank 1.
    up, down = update.up[:, needed], update.down[needed]
    rows, place = torch.unique(down, dim=0, return_inverse=True)
    if len(rows) < len(down):
        up, down = up.new_zeros(len(up), len(rows)).index_add_(1, place, up), rows
    update = LowRank.of(up, down, update.shape)
    if update.rank > min(update.up.shape[0], update.down.shape[1]):
        update = update.truncated(update.rank)
    return update


def combined(
    target: Target, weights: Sequence[float], dtype: torch.dtype, compute: Compute
) -> Outcome | None:
    """The weighted sum of several modules in their own kind, or None where it has no way to add."""
    modules = [c.module for c in target.contributions if c.whole]
    kinds = {module.adapter.kind for module in modules}
    turned = any(m.name.swapped != target.name.swapped for m in modules)
    if len(modules) < len(target.contributions) or len(kinds) > 1 or turned:
        return None
    kind = kinds.pop()
    if kind.add is None or kind.update is None:
        return None
    parts = []
    for module, weight in zip(modules, weights, strict=True):
        found, alpha = module.adapter.roles(
            module.tensors.__getitem__, torch.device("cpu"), torch.float64
        )
        parts.append((found, alpha, module.scale * weight))
    roles = kind.add(parts)
    if roles is None:
        return None
    suffixes = {role: suffix for suffix, role in kind.forms[0].items()}
    keys = {role: target.raw + suffixes[role] for role in roles}
    tensors = {keys[role]: cast(tensor, dtype, keys[role]) for role, tensor in roles.items()}
    adapter = Adapter(kind, keys, {role: suffixes[role] for role in roles})
    exact = kind.update(roles, None)
    rounded = adapter.update(tensors.__getitem__, torch.device("cpu"), torch.float64)
    ranks = [module.rank for module in modules]
    shapes = {role: tuple(tensor.shape) for role, tensor in roles.items()}
    row = ModuleReport(target.canonical, "blended", ranks, kind.dimensions(shapes).rank)
    return written(row, Encoded(tensors, distance(exact, rounded)), exact.frobenius_norm())
