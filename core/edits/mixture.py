"""One module of a blend: what counts in it, what can stay as it is, what is added and cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import hypot, isfinite
from typing import NamedTuple
from zlib import crc32

from ..algebra.low_rank import LowRank
from ..algebra.randomised import randomised
from ..algebra.update import Dense, Update, total
from ..deferred import torch
from ..errors import SettingError
from ..merging.even import Even, multipliers
from ..merging.merge import Merge, automatic_strength
from ..merging.method import method_named
from ..running.encoding import encode
from ..running.layout import Target
from ..running.report import Action, ModuleReport
from ..running.stream import Compute, stream
from .blend_settings import PER_LAYER, Blend
from .block_weights import BlockRule
from .cutting import Planned, cut
from .edit import Outcome, raw_names
from .parts import by_input, gram_of, sizes_of, spectral_norm, sums_of
from .unchanged import combined, copy, notes_of, written
from .whole import Cut, as_large_whole


class Mixed(NamedTuple):
    """The merge of a module's inputs: `sizes` gives the norms of the inputs in it, best asked when
    the update was decomposed; `norm` is its own where that is known, and `strength` what has scaled
    it."""

    update: Update
    sizes: Callable[[], list[float]]
    norm: float | None = None
    strength: float = 1.0


@dataclass(frozen=True)
class Mixture:
    """What the modules of one blend have in common.

    `planned` are the ranks of a budget, `strength` is the automatic one of the whole file.
    """

    settings: Blend
    weights: Sequence[float]
    rule: BlockRule
    dtype: torch.dtype
    planned: dict[str, Planned] = field(default_factory=dict)
    strength: float = 1.0

    def module(self, target: Target, compute: Compute) -> Outcome:
        """One module of the result."""
        ranks = [c.module.rank for c in target.contributions]
        mixed = self.mixed(target, compute)
        if mixed is None:
            zero = "its weight is zero"
            return ModuleReport(target.canonical, "dropped", ranks, note=zero), {}
        target, weights, updates = mixed
        row, tensors = self.stays(target, weights, compute) or self.made(
            target, weights, updates, compute
        )
        counting = {c.input: w for c, w in zip(target.contributions, weights, strict=True)}
        row.ranks, row.inputs = ranks, sorted(counting)
        row.weights = [counting[i] for i in row.inputs]
        row.sizes = [size / self.strength for size in row.sizes]
        row.strength *= self.strength
        return row, tensors

    def made(
        self,
        target: Target,
        weights: Sequence[float],
        updates: Sequence[Update] | None,
        compute: Compute,
    ) -> Outcome:
        """A module that is computed anew: merged, cut, encoded."""
        name, settings = target.canonical, self.settings
        source = target.contributions[0].module
        stored = [c.module.rank for c in target.contributions]
        merged = self.merged(target, weights, updates, compute)
        update = merged.update
        action: Action = "blended" if len(target.contributions) > 1 else "scaled"
        dropped: Outcome = ModuleReport(name, "dropped", stored, note="zero"), {}
        row = ModuleReport(name, action, stored, strength=merged.strength)
        result = self.cut(target, merged)
        if isinstance(update, Dense) and result is None:
            largest = float(update.values.abs().max()) if update.values.numel() else 0.0
            if self.is_zero(largest):
                return dropped
            row.note, row.sizes = grown(target), merged.sizes()
            row.note = notes_of(row, target)
            return written(row, encode(update, target, self.dtype, source), update.frobenius_norm())
        assert result is not None
        if self.is_zero(result.largest):
            return dropped
        row.rank, row.sizes = max(result.update.rank, 1), merged.sizes()
        if not result.update.rank and isinstance(update, LowRank):
            return written(row, encode(update.zero(), target, self.dtype, source), 0.0)
        row.retained_energy, row.relative_error = result.energy, result.error
        if settings.ranks.name == "rank" and result.update.rank < settings.ranks.value:
            row.note = f"has rank {row.rank} only"
        row.note = notes_of(row, target)
        return written(row, encode(result.update, target, self.dtype, source), result.norm)

    def cut(self, target: Target, merged: Mixed) -> Cut | None:
        """The merge at the rank of the settings; None for a matrix that is written as a whole."""
        update, ranks = merged.update, self.settings.ranks
        stored = [c.module.rank for c in target.contributions]
        planned = self.planned.get(target.canonical)
        if isinstance(update, LowRank):
            estimate = self.sketched(update, ranks.limit(stored))
            norm = merged.norm if estimate is update else update.frobenius_norm()
            return cut(estimate, ranks, stored, self.dtype, planned, norm)
        if not self.is_cut(target, update):
            return None
        result = cut(update, ranks, stored, self.dtype, planned)
        return None if as_large_whole(update.shape, result.update.rank) else result

    def exact(self, target: Target, compute: Compute) -> Update | None:
        """The exact update where a rank is to be chosen for it, None where it is written whole."""
        mixed = self.mixed(target, compute)
        if mixed is None or self.stays(*mixed[:2], compute):
            return None
        target, weights, updates = mixed
        update = self.merged(target, weights, updates, compute).update
        whole = isinstance(update, Dense) and not self.is_cut(target, update)
        return None if whole else update

    def mixed(
        self, target: Target, compute: Compute
    ) -> tuple[Target, list[float], list[Update] | None] | None:
        """The target with only what counts in it, the weights of that, and the updates if computed.

        None where nothing counts.
        """
        multipliers = self.rule(target.canonical, raw_names(target))
        weights = [self.strength * w * m for w, m in zip(self.weights, multipliers, strict=True)]
        updates = None
        if self.settings.balance is not None and not self.whole_file:
            updates = target.updates(compute.device, compute.dtype)
            weights = self.balanced(target, weights, updates)
        if not all(map(isfinite, weights)):
            raise SettingError(f"its weights {weights} must be finite numbers", fix="change them")
        counting = [i for i, c in enumerate(target.contributions) if weights[c.input] != 0.0]
        if not counting and self.settings.drop_near_zero:
            return None
        counting = counting or [0]
        if updates is not None:
            updates = [updates[i] for i in counting]
        target = replace(target, contributions=tuple(target.contributions[i] for i in counting))
        return target, [weights[c.input] for c in target.contributions], updates

    @property
    def whole_file(self) -> bool:
        return isinstance(self.settings.balance, Even) and self.settings.balance.whole_file

    def balanced(
        self, target: Target, weights: list[float], updates: Sequence[Update]
    ) -> list[float]:
        """The weights of all inputs, balanced in this module."""
        balance = self.settings.balance
        sums = sums_of(target, updates, len(weights))
        if isinstance(balance, Even):
            factors = multipliers(gram_of(sums), weights, balance.strength)
        else:
            assert balance is not None
            if len(weights) != 2:
                raise SettingError(
                    "this balance is for two LoRAs", fix="balance even takes any number of them"
                )
            norms = [None if update is None else spectral_norm(update) for update in sums]
            factors = list(balance(target.canonical, *norms))
        return [w * f for w, f in zip(weights, factors, strict=True)]

    def evened(self, targets: Sequence[Target], compute: Compute) -> list[float]:
        """The weights with which the files as a whole are as strong as each other."""
        assert isinstance(self.settings.balance, Even)

        def gram(target: Target, compute: Compute) -> torch.Tensor:
            multipliers = self.rule(target.canonical, raw_names(target))
            updates = target.updates(compute.device, compute.dtype)
            weighed = [
                update.scaled(multipliers[c.input])
                for c, update in zip(target.contributions, updates, strict=True)
            ]
            return gram_of(sums_of(target, weighed, len(self.weights)))

        quiet = replace(compute, progress=None)
        grams = stream(targets, lambda t: t.canonical, gram, quiet, lambda t: t.file)
        whole = torch.stack(list(grams)).sum(0)
        factors = multipliers(whole, self.weights, self.settings.balance.strength)
        return [w * f for w, f in zip(self.weights, factors, strict=True)]

    def stays(self, target: Target, weights: Sequence[float], compute: Compute) -> Outcome | None:
        """The module in its own kind, where it is only scaled, or the kind can add by itself."""
        ranks = self.settings.ranks
        stored = [c.module.rank for c in target.contributions]
        only = target.only
        if only is None:
            if self.settings.method != "sum" or self.per_layer or not ranks.keeps_all:
                return None
            found = combined(target, weights, self.dtype, compute)
            if found:
                updates = target.updates(compute.device, compute.dtype)
                found[0].sizes = sizes_of(*by_input(target, updates, weights))
            return found
        limit = ranks.limit(stored)
        fits = ranks.keeps_all or only.rank is None
        if limit is not None and only.rank is not None:
            fits = ranks.clamp(limit, only.rank) >= only.rank
        found = copy(target, self.dtype, compute, weight=weights[0]) if fits else None
        if found and weights[0] != 1.0 and self.is_zero(found[0].norm or 0.0):
            return ModuleReport(target.canonical, "dropped", stored, note="zero"), {}
        if found and found[0].norm is not None:
            found[0].sizes = [found[0].norm]
        return found

    def is_zero(self, size: float) -> bool:
        return self.settings.drop_near_zero and size <= self.settings.zero_tolerance

    @property
    def per_layer(self) -> bool:
        return self.settings.strength == PER_LAYER

    def merged(
        self,
        target: Target,
        weights: Sequence[float],
        updates: Sequence[Update] | None,
        compute: Compute,
    ) -> Mixed:
        """What the method makes of the inputs."""
        settings = self.settings
        if updates is None:
            updates = target.updates(compute.device, compute.dtype)
        several = len({c.input for c in target.contributions}) > 1
        if not several or (settings.method == "sum" and not self.per_layer):
            return self.added(target, weights, updates)
        # What comes as factors is cut once, by the rule; tiles are cut while they are visited.
        limit = settings.ranks.limit([c.module.rank for c in target.contributions])
        tiles = method_named(settings.method).needs == "tiles"
        inputs = by_input(target, updates, weights)
        found = self.merge(target)(*inputs, limit if tiles else None)
        strength = found.strength if self.per_layer else 1.0
        update = self.as_factors(target, found.update.scaled(strength))
        return Mixed(update, lambda: found.sizes, found.norm * strength, strength)

    def merge(self, target: Target) -> Merge:
        # Equal seeds draw equal masks: every module has its own.
        seed = crc32(target.canonical.encode()) ^ self.settings.seed
        return Merge(self.settings.method, self.settings.parameters, seed)

    def added(self, target: Target, weights: Sequence[float], updates: Sequence[Update]) -> Mixed:
        """The exact weighted sum."""
        terms = [update.scaled(weight) for update, weight in zip(updates, weights, strict=True)]
        whole = total(terms)
        if not isinstance(whole, LowRank):
            inputs = by_input(target, updates, weights)
            return Mixed(self.as_factors(target, whole), lambda: sizes_of(*inputs))
        ranks: Counter[int] = Counter()
        for contribution, term in zip(target.contributions, terms, strict=True):
            ranks[contribution.input] += term.rank if isinstance(term, LowRank) else 0
        return Mixed(whole, lambda: whole.norms(list(ranks.values())))

    def whole_strength(self, targets: Sequence[Target], compute: Compute) -> float:
        """The automatic strength of all modules as one vector."""

        def norms(target: Target, compute: Compute) -> tuple[dict[int, float], float]:
            mixed = self.mixed(target, compute)
            if mixed is None:
                return {}, 0.0
            target, weights, updates = mixed
            if updates is None:
                updates = target.updates(compute.device, compute.dtype)
            sizes, norm = self.merge(target).norms(*by_input(target, updates, weights))
            inputs = dict.fromkeys(c.input for c in target.contributions)
            return dict(zip(inputs, sizes, strict=True)), norm

        quiet = replace(compute, progress=None)
        found = list(stream(targets, lambda t: t.canonical, norms, quiet, lambda t: t.file))
        files = [
            hypot(*(sizes.get(i, 0.0) for sizes, _ in found)) for i in range(len(self.weights))
        ]
        return automatic_strength(files, hypot(*(norm for _, norm in found)))

    def as_factors(self, target: Target, update: Update) -> Update:
        """The update as a product where a rank is asked for and the inputs had one."""
        product = any(c.module.rank is not None for c in target.contributions)
        asked = product and not target.baked and not self.settings.ranks.keeps_all
        return update.low_rank() if isinstance(update, Dense) and asked else update

    def is_cut(self, target: Target, update: Dense) -> bool:
        """Whether a whole matrix is cut to a rank: what was baked, unless all is to be kept."""
        ranks = self.settings.ranks
        limit = ranks.limit([c.module.rank for c in target.contributions])
        asked = limit is not None or not ranks.keeps_all
        return target.baked and asked and len(update.shape) > 1

    def sketched(self, update: LowRank, rank: int | None) -> LowRank:
        """The update, or for pca an estimate of it of a little more than the wanted rank."""
        settings = self.settings
        if settings.truncation != "pca" or rank is None or rank >= update.rank:
            return update
        generator = torch.Generator().manual_seed(settings.seed)
        return randomised(update, rank, settings.oversampling, settings.power_iterations, generator)


def grown(target: Target) -> str:
    """Why a module that was stored as factors is written as a whole matrix."""
    modules = [c.module for c in target.contributions]
    if len(modules) < 2 or all(module.rank is None for module in modules):
        return ""
    kinds = " and ".join(sorted({module.adapter.kind.name for module in modules}))
    return f"{kinds}: no smaller form holds the sum, which is stored as a whole matrix"
