"""What an edit leaves as it is: a module copied to the bit, or written exactly in other words."""

import torch

from ..algebra.low_rank import Dense, LowRank, total
from ..running.encoding import encode, stored_tensors
from ..running.layout import Target
from ..running.report import Action, ModuleReport
from ..running.stream import Compute
from .edit import Outcome


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
    target: Target, dtype: torch.dtype | None, compute: Compute, with_norm: bool = True
) -> Outcome | None:
    """The target's only module as it stands, or None where it has to be computed.

    A module can be copied when nothing cuts it, its row order stays and, for kinds whose suffixes
    belong to the spelling, its factors keep them; others only need the new name in front.
    `with_norm` gives the row its norm: what is copied counts in the total error, too. Raises
    LoraError where the numbers are damaged.
    """
    module = target.only
    if module is None or module.name.swapped != target.name.swapped or module.scale != 1.0:
        return None
    style, adapter = target.spelling, module.adapter
    if adapter.kind.factors:
        same = (adapter.suffixes["up"], adapter.suffixes["down"]) == (style.up, style.down)
        renamed_mid = "mid" in adapter.keys and target.raw != module.raw
        if not same or ("alpha" in adapter.keys) != style.alpha or renamed_mid:
            return None
    action: Action = "copied" if target.raw == module.raw else "converted"
    row = ModuleReport(target.canonical, action, [module.rank], module.rank)
    row.inputs = [target.contributions[0].input]
    if adapter.kind.update is not None:
        update = module.update(compute.device, compute.dtype)
        row.norm = update.frobenius_norm() if with_norm else None
    return row, stored_tensors(module, target.raw, dtype)


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
        update = thinned(update)
        row.rank = update.rank
    source = modules[0] if isinstance(update, Dense) else None
    row.note = notes_of(row, target)
    return row, encode(update, target, dtype, source)


def thinned(update: LowRank) -> LowRank:
    """The same update without the columns that fusing and splitting leave behind.

    A weight that was fused from parts has zeros in a part's rows, in the columns of the others.
    Parts that were split from a weight share their `down`: their columns of `up` belong together.
    """
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
