"""Resize: fewer (or no more than necessary) ranks per module, by one of the rank rules."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from math import hypot
from typing import NamedTuple

import torch

from ..algebra.low_rank import Dense, LowRank, Svd
from ..algebra.rank_rules import RankRule, Spectrum, budget_ranks, retained
from ..errors import LoraError
from ..naming.selectors import Selector
from ..reading.lora import Lora, Source
from ..running.encoding import encode
from ..running.layout import Target, lay_out
from ..running.output import Output
from ..running.report import ModuleReport, Report
from ..running.stream import Compute, stream
from ..running.writer import header_reserve
from .edit import Edited, Outcome, run
from .unchanged import copy, notes_of, unchanged


def resize(
    lora: Source,
    rule: RankRule,
    layers: str = "",
    output: Output = Output(),  # noqa: B008 - frozen
    compute: Compute = Compute(),  # noqa: B008 - frozen
    preview: bool = False,
) -> Edited:
    """Store every selected module at the rank that the rule gives; the others stay as they are.

    LoHa and LoKr become LoRA; so does a full difference of a matrix where that is smaller.
    `preview` computes ranks and errors only: the result's `lora` is an empty state dict and no file
    is written. Raises LoraError where the budget is too small for the file, and for a selected
    module of a kind that needs the base weight, unless its rank is within a fixed one.
    """
    source = Lora.of(lora)
    targets = lay_out([source], output.spelling_for(source))
    chosen = Selector.parse(layers).select(target.canonical for target in targets)
    recipe = asdict(rule) | {"layers": layers} | output.recipe()
    report = Report("resize", settings=recipe)
    dtype = output.dtype_for(source)
    planned = {}
    if rule.budget:
        planned = _budget(source, targets, chosen, rule, dtype, compute, report)

    def one(target: Target, compute: Compute) -> Outcome:
        if target.canonical not in chosen:
            return unchanged(target, dtype, compute)
        return _resize_module(target, rule, planned.get(target.canonical), dtype, compute)

    return run([source], targets, one, output, report, compute, preview=preview)


def _matrix(target: Target, compute: Compute) -> LowRank | None:
    """The target's update as a product, or None where ranks mean nothing for it.

    Raises LoraError for a kind that needs the base weight: what it does cannot be cut.
    """
    module = target.contributions[0].module
    kind = module.adapter.kind
    if not kind.ranked or target.parameter == "bias":
        return None
    if kind.update and not kind.factors and min(module.out_features, module.in_features) < 2:
        return None
    terms = target.updates(compute.device, compute.dtype)
    products = [term.low_rank() if isinstance(term, Dense) else term for term in terms]
    return LowRank.sum(products)


class Planned(NamedTuple):
    """A rank that the budget gave, and the decomposition where it was kept."""

    rank: int
    svd: Svd | None


def _resize_module(
    target: Target,
    rule: RankRule,
    planned: Planned | None,
    dtype: torch.dtype,
    compute: Compute,
) -> Outcome:
    name, stored = target.canonical, [c.module.rank for c in target.contributions]
    only = target.only
    limit = int(rule.value) if rule.name == "rank" else planned.rank if planned else None
    stored_rank = None
    if only is not None and only.adapter.factors:
        stored_rank = only.rank
    if limit is not None and stored_rank is not None:
        # Nothing to cut: the stored tensors are the answer, to the bit.
        enough = rule.clamp(limit, stored_rank) >= stored_rank
        if enough and (copied := copy(target, dtype, compute)):
            return copied
    update = _matrix(target, compute)
    if update is None:
        return unchanged(target, dtype, compute, cast=True)
    if planned is not None and planned.svd is not None:
        update = replace(update, known=planned.svd)
    values = update.svd.values.tolist()
    norm = hypot(*values)
    rank = min(planned.rank, len(values)) if planned else rule.rank(update.svd.values)
    whole = stored_rank is not None and rank >= stored_rank
    if whole and (copied := copy(target, dtype, compute, with_norm=False)):
        copied[0].norm = norm
        return copied
    out, inner = update.up.shape[0], update.down.shape[1]
    if stored_rank is None and only is not None and rank * (out + inner) >= out * inner:
        row, tensors = unchanged(target, dtype, compute, cast=True)
        return replace(row, norm=norm, note="smaller as it is"), tensors
    if rank == 0:
        # A layer that does nothing: one rank of zeros keeps it loadable.
        row = ModuleReport(name, "truncated", stored, 1, 0.0, note="zero")
        return row, encode(update.zero(), target, dtype, None)
    row = ModuleReport(name, "truncated", stored, rank, norm, *retained(values, rank, norm))
    row.note = notes_of(row, target)
    return row, encode(update.truncated(rank), target, dtype, None)


# Bytes of decompositions that are kept from choosing the ranks until the modules' turn; the rest is
# decomposed again. Those of a Flux file of rank 128 take 80 MB.
KEPT_BYTES = 100_000_000


def decompositions_to_keep(targets: Sequence[Target]) -> set[str]:
    """The targets whose decompositions fit into KEPT_BYTES, told from the stored ranks alone.

    Decided beforehand, and so the same however many modules are computed at once.
    """
    kept, room = set(), KEPT_BYTES
    for target in targets:
        modules = [contribution.module for contribution in target.contributions]
        size = 2 * 8 * sum(module.rank or 0 for module in modules) ** 2  # Two matrices in float64.
        if size <= room and all(module.adapter.kind.factors for module in modules):
            kept.add(target.canonical)
            room -= size
    return kept


def _budget(
    source: Lora,
    targets: Sequence[Target],
    chosen: set[str],
    rule: RankRule,
    dtype: torch.dtype,
    compute: Compute,
    report: Report,
) -> dict[str, Planned]:
    """Ranks of all selected modules so that the whole file meets the budget."""
    spectra: dict[str, Spectrum] = {}
    svds: dict[str, Svd | None] = {}
    kept = decompositions_to_keep([target for target in targets if target.canonical in chosen])
    in_bytes = rule.name == "megabytes"
    fixed_cost = 0
    if in_bytes:
        fixed_cost = sum(source.tensors.info[key].bytes for key in source.other)
        fixed_cost += 16 + header_reserve([source], targets, report)

    def spectrum(target: Target, compute: Compute) -> tuple[str, Spectrum | int, Svd | None]:
        """The name, and what it could keep at which cost, or what it costs as it is."""
        selected = target.canonical in chosen
        update = _matrix(target, compute) if selected else None
        if update is None:
            _, tensors = unchanged(target, dtype, compute, cast=selected)
            sizes = [t.nbytes if in_bytes else t.numel() for t in tensors.values()]
            return target.canonical, sum(sizes), None
        cost = update.up.shape[0] + update.down.shape[1]
        svd = update.svd if target.canonical in kept else None
        values = (svd.values if svd else update.singular_values).tolist() or [0.0]
        return target.canonical, Spectrum(values, cost * (dtype.itemsize if in_bytes else 1)), svd

    quiet = replace(compute, progress=None)
    for name, found, svd in stream(targets, lambda t: t.canonical, spectrum, quiet, [source.name]):
        if isinstance(found, int):
            fixed_cost += found
            continue
        spectra[name], svds[name] = found, svd
        fixed_cost += 4 if in_bytes else 0  # Its alpha.
    whole = rule.value * 1e6 if rule.name == "megabytes" else rule.value
    if whole <= fixed_cost:
        raise LoraError(
            f"{source.name}: the budget of {rule.value:g} {rule.name} is used up by the header and "
            f"the tensors that stay as they are ({fixed_cost}); raise it"
        )
    ranks = budget_ranks(list(spectra.values()), whole - fixed_cost, rule)
    return {name: Planned(rank, svds[name]) for name, rank in zip(spectra, ranks, strict=True)}
