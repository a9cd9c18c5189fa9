"""Resize: fewer (or no more than necessary) ranks per module, by one of the rank rules."""

from __future__ import annotations

from dataclasses import asdict, replace

from ..algebra.low_rank import LowRank
from ..algebra.rank_rules import RankRule
from ..algebra.update import Dense, Update, total
from ..deferred import torch
from ..reading.lora import Lora, Source
from ..running.encoding import encode
from ..running.layout import Target, lay_out
from ..running.output import Output
from ..running.report import ModuleReport, Report
from ..running.stream import Compute
from .cutting import Budget, Planned, cut
from .edit import Edited, Outcome, layers_of, run
from .unchanged import copy, notes_of, unchanged, written
from .whole import as_large_whole


def resize(
    lora: Source,
    rule: RankRule,
    layers: str = "",
    output: Output = Output(),  # noqa: B008 - frozen
    compute: Compute | None = None,
    preview: bool = False,
) -> Edited:
    """Store every selected module at the rank that the rule gives; the others stay as they are.

    `lora` is a path, a state dict or a Lora, `rule` a rank rule or budget, `layers` a selector
    (empty: all modules). `output` says where the result goes and in which dtype and spelling,
    `compute` where and how to compute. `preview` computes ranks and errors only: the result's
    `lora` is an empty state dict and no file is written.

    The cut is the optimum of its rank (Eckart and Young 1936). LoHa and LoKr become LoRA; so does a
    full difference of a matrix where that is smaller. Raises SettingError where the budget is too
    small for the file or the selector matches nothing, and FileError for a file that cannot be read
    or written and for a selected module of a kind that needs the base weight, unless its rank is
    within a fixed one.

    >>> _, character = core.samples()
    >>> small = core.resize(character, core.RankRule("energy", 0.9))
    >>> small.report.rank_summary(), round(small.report.relative_error, 2)
    ('1 to 6', 0.2)
    """
    compute = compute or Compute()
    source = Lora.of(lora)
    targets = lay_out([source], output.spelling_for(source))
    known = layers_of([source], targets)
    chosen = known.selected(layers)
    recipe = asdict(rule) | {"layers": layers} | output.recipe()
    report = Report("resize", settings=recipe, notes=known.notes)
    dtype = output.dtype_for(source)

    def exact(target: Target, compute: Compute) -> Update | None:
        return _matrix(target, compute) if target.canonical in chosen else None

    def stays(target: Target, compute: Compute) -> Outcome:
        return unchanged(target, dtype, compute, cast=target.canonical in chosen)

    planned: dict[str, Planned] = {}
    if rule.budget:
        budget = Budget([source], targets, dtype, exact, lambda *args: stays(*args)[1])
        others = sum(source.tensors.info[key].bytes for key in source.other)
        planned = budget.ranks(rule, others, report, compute)

    def one(target: Target, compute: Compute) -> Outcome:
        if target.canonical not in chosen:
            return stays(target, compute)
        return _resize_module(target, rule, planned.get(target.canonical), dtype, compute)

    edited = run([source], targets, one, output, report, compute, preview=preview)
    if not any(row.action == "truncated" for row in report.modules):
        report.notes.append("nothing was cut: no layer has more ranks than the rule keeps")
    return edited


def _matrix(target: Target, compute: Compute) -> Update | None:
    """The target's update as a product, or None where ranks mean nothing for it.

    What was baked with a base model is a whole matrix. Raises LoraError for a kind that needs the
    base weight where there is none: what it does cannot be cut.
    """
    module = target.contributions[0].module
    kind = module.adapter.kind
    if not kind.ranked or target.parameter == "bias":
        return None
    if kind.update and not kind.factors and min(module.out_features, module.in_features) < 2:
        return None
    terms = target.updates(compute.device, compute.dtype)
    if target.baked:
        return total(terms)
    products = [term.low_rank() if isinstance(term, Dense) else term for term in terms]
    return LowRank.sum(products)


def _resize_module(
    target: Target,
    rule: RankRule,
    planned: Planned | None,
    dtype: torch.dtype,
    compute: Compute,
) -> Outcome:
    name, stored = target.canonical, [c.module.rank for c in target.contributions]
    only = target.only
    stored_rank = only.rank if only is not None and only.adapter.factors else None
    limit = planned.rank if planned else rule.limit(stored)
    if limit is not None and stored_rank is not None:
        # Nothing to cut: the stored tensors are the answer, to the bit.
        enough = rule.clamp(limit, stored_rank) >= stored_rank
        if enough and (copied := copy(target, dtype, compute)):
            return copied
    update = _matrix(target, compute)
    if update is None or (isinstance(update, Dense) and rule.keeps_all and limit is None):
        return unchanged(target, dtype, compute, cast=True)
    result = cut(update, rule, stored, dtype, planned)
    rank = result.update.rank
    whole = stored_rank is not None and rank >= stored_rank
    if whole and (copied := copy(target, dtype, compute, with_norm=False)):
        copied[0].norm = result.norm
        return copied
    alone = only is not None and stored_rank is None
    if (target.baked or alone) and as_large_whole(update.shape, rank):
        row, tensors = unchanged(target, dtype, compute, cast=True)
        return replace(row, norm=result.norm, note="smaller as it is"), tensors
    if rank == 0 and isinstance(update, LowRank):
        # A layer that does nothing: one rank of zeros keeps it loadable.
        row = ModuleReport(name, "truncated", stored, 1, 0.0, note="zero")
        return row, encode(update.zero(), target, dtype, None).tensors
    row = ModuleReport(name, "truncated", stored, rank, None, result.energy, result.error)
    row.note = notes_of(row, target)
    return written(row, encode(result.update, target, dtype, None), result.norm)
