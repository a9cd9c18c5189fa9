"""Convert: the same update in another spelling, fused or split as that spelling needs."""

import torch

from .edit import Edited, Outcome, copy, explained, run
from .layout import Target, lay_out
from .lora import Lora, Source
from .low_rank import Dense, LowRank, total
from .output import Output, encode
from .report import ModuleReport, Report
from .stream import Compute


def convert(
    lora: Source,
    output: Output,
    compute: Compute = Compute(),  # noqa: B008 - frozen
) -> Edited:
    """Write a LoRA in `output.spelling` and `output.dtype`; exact up to the dtype's rounding.

    Modules whose name no rule knows keep it. Raises LoraError where a kind that cannot be cut would
    have to be fused or split.
    """
    source = Lora.of(lora)
    targets = lay_out([source], output.spelling_for(source))
    report = Report("convert", settings={"spelling": output.spelling, "dtype": output.dtype})
    dtype = output.dtype_for(source)
    same = dtype if output.dtype != "match" else None

    def one(target: Target, compute: Compute) -> Outcome:
        return copy(target, same, compute, measured=False) or converted(target, dtype, compute)

    return run([source], targets, one, output, report, compute)


def converted(target: Target, dtype: torch.dtype, compute: Compute) -> Outcome:
    """The target's exact update under its own name, with no more rank than it needs."""
    modules = [c.module for c in target.contributions]
    update = total(target.updates(compute.device, compute.dtype))
    row = ModuleReport(target.canonical, "converted", [module.rank for module in modules])
    if isinstance(update, LowRank):
        update = thinned(update)
        row.rank = update.rank
    source = modules[0] if isinstance(update, Dense) else None
    return explained(row, target), encode(update, target, dtype, source)


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
    update = LowRank(up, down, update.shape)
    if update.rank > min(update.up.shape[0], update.down.shape[1]):
        update = update.truncated(update.rank)
    return update
