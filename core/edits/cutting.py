"""How much of an exact update is written: by a rank rule, in factors that survive the rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot
from typing import NamedTuple

from ..algebra.decomposition import Svd
from ..algebra.low_rank import LowRank
from ..algebra.precision import FEW, eps
from ..algebra.rank_rules import RankRule, Spectrum, budget_ranks, retained
from ..algebra.update import Dense, Update
from ..deferred import Tensor, torch
from ..errors import SettingError, located
from ..reading.inputs import file_names
from ..reading.lora import Lora
from ..running.layout import Target
from ..running.report import Report
from ..running.stream import Compute, stream
from ..running.writer import header_reserve
from .whole import Cut, WholeCut


class Planned(NamedTuple):
    """A rank that a budget gave, and the decomposition where it was kept."""

    rank: int
    svd: Svd | None


def cut(
    update: Update,
    rule: RankRule,
    stored: Sequence[int | None],
    dtype: torch.dtype,
    planned: Planned | None = None,
    norm: float | None = None,
) -> Cut:
    """The update at the rank of the rule, in factors that can be written in `dtype`.

    `stored` are the ranks that the inputs have. Where nothing has to be cut the factors stay as
    they are, side by side; everywhere else the result is the optimum of Eckart and Young. A rank of
    0 comes back where nothing is left of the update. `norm` is that of the exact update where this
    one is an estimate or cut already. A whole matrix is cut as `WholeCut` says.
    """
    if isinstance(update, Dense):
        limit = planned.rank if planned else rule.limit(stored)
        return WholeCut(rule)(update, limit)[0]
    if planned is None and norm is None and nothing_to_cut(update, rule, stored):
        steady = update.steady(eps(dtype))
        norm = steady.frobenius_norm()
        if steady.roots is not None:  # Something cancelled, maybe to nothing.
            return Cut(steady, norm, largest=norm)
        return Cut(steady.balanced(), norm)
    if planned is not None and planned.svd is not None:
        update = replace(update, known=planned.svd)
    update, values = decomposed(update, dtype)
    limit = planned.rank if planned else rule.limit(stored)
    rank = rule.rank(update.svd.values) if limit is None else rule.clamp(limit, len(values))
    rank, norm = min(rank, len(values)), hypot(*values) if norm is None else norm
    kept = retained(values, rank, norm)
    return Cut(update.truncated(rank), norm, *kept, values[0] if values else 0.0)


def nothing_to_cut(update: LowRank, rule: RankRule, stored: Sequence[int | None]) -> bool:
    """Whether the rule keeps all ranks that the factors have, told without a spectrum.

    A rank that was asked for is another matter: where the update has less, it gets no more.
    """
    if not rule.keeps_all or update.rank > min(update.matrix_shape):
        return False
    limit = rule.limit(stored)
    return rule.clamp(update.rank if limit is None else limit, update.rank) >= update.rank


def decomposed(update: LowRank, dtype: torch.dtype) -> tuple[LowRank, list[float]]:
    """The update and its singular values, in float64 where float32 has too few digits for dtype."""
    values = update.svd.values.tolist()
    if update.dtype != torch.float64 and update.svd.noise > FEW * eps(dtype) * hypot(*values):
        update = update.precise()
        values = update.svd.values.tolist()
    return update, values


# Bytes of decompositions that are kept from choosing the ranks until the modules' turn; the rest is
# decomposed again. Those of a Flux file of rank 128 take 80 MB.
KEPT_BYTES = 100_000_000
# How many ranks of a whole matrix a budget chooses from, unless a maximum says it.
BUDGETED = 128


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


@dataclass(frozen=True)
class Budget:
    """What a budget has to know of an edit.

    `exact` gives a target's update where a rank is to be chosen for it, and None where it is
    written as it is; then `as_it_is` gives its tensors.
    """

    loras: Sequence[Lora]
    targets: Sequence[Target]
    dtype: torch.dtype
    exact: Callable[[Target, Compute], Update | None]
    as_it_is: Callable[[Target, Compute], Mapping[str, Tensor]]

    def ranks(
        self, rule: RankRule, others: int, report: Report, compute: Compute
    ) -> dict[str, Planned]:
        """Ranks of all targets so that the whole file meets the budget.

        `others` is the size in bytes of the tensors that belong to no module. Raises SettingError
        where the budget is used up before any rank is chosen.
        """
        spectra: dict[str, Spectrum] = {}
        svds: dict[str, Svd | None] = {}
        kept = decompositions_to_keep(self.targets)
        in_bytes = rule.name == "megabytes"
        fixed = others + 16 + header_reserve(self.loras, self.targets, report) if in_bytes else 0

        def spectrum(target: Target, compute: Compute) -> tuple[str, Spectrum | int, Svd | None]:
            """The name, and what it could keep at which cost, or what it costs as it is."""
            update = self.exact(target, compute)
            if update is None:
                tensors = self.as_it_is(target, compute).values()
                sizes = [tensor.nbytes if in_bytes else tensor.numel() for tensor in tensors]
                return target.canonical, sum(sizes), None
            shape = update.matrix.shape if isinstance(update, Dense) else update.matrix_shape
            cost = sum(shape) * (self.dtype.itemsize if in_bytes else 1)
            if isinstance(update, Dense):
                sketch = WholeCut(rule).sketch(update, lambda _: True, rule.max_rank or BUDGETED)
                return target.canonical, Spectrum(sketch.values.tolist() or [0.0], cost), None
            if target.canonical not in kept:
                values = update.singular_values.tolist()
                return target.canonical, Spectrum(values or [0.0], cost), None
            update, values = decomposed(update, self.dtype)
            known = update.svd if update.dtype == compute.dtype else None
            return target.canonical, Spectrum(values or [0.0], cost), known

        quiet = replace(compute, progress=None)
        for name, found, svd in stream(
            self.targets, lambda t: t.canonical, spectrum, quiet, lambda t: t.file
        ):
            if isinstance(found, int):
                fixed += found
                continue
            spectra[name], svds[name] = found, svd
            fixed += 4 if in_bytes else 0  # Its alpha.
        files = file_names([lora.name for lora in self.loras])
        whole = rule.value * 1e6 if in_bytes else rule.value
        if whole <= fixed:
            raise SettingError(
                f"the budget of {rule.value:g} {rule.name} is used up by the header and the "
                f"tensors that stay as they are ({fixed})",
                fix="raise it",
                file=files,
            )
        with located(file=files):
            ranks = budget_ranks(list(spectra.values()), whole - fixed, rule)
        return {name: Planned(rank, svds[name]) for name, rank in zip(spectra, ranks, strict=True)}
