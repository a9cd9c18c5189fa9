"""Blend: the weighted sum of any number of LoRAs, exact until a rank is asked for."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from typing import Any

import torch

from ..algebra import lapack
from ..algebra.low_rank import Dense, LowRank, Update, inner, total
from ..algebra.randomised import randomised
from ..algebra.rank_rules import AUTO, RankRule
from ..errors import SettingError, one_of
from ..merging.balance import Balance, WeightRule
from ..merging.even import Even, multipliers
from ..naming.selectors import Selector
from ..reading.inputs import check_families, open_together
from ..reading.lora import Lora, Source
from ..running.encoding import encode
from ..running.layout import Target, lay_out
from ..running.output import Output
from ..running.report import Action, ModuleReport, Report
from ..running.stream import Compute, stream
from .block_weights import BlockRule, parse_block_weights
from .cutting import Budget, Planned, cut
from .edit import Edited, Outcome, run
from .unchanged import combined, copy, notes_of, written

METHODS = ("svd", "pca")


@dataclass(frozen=True)
class Blend:
    """The settings of a blend.

    `weights` has one number for every LoRA, or one for all of them. `rank` says how many ranks the
    result keeps: a number, a RankRule, "auto" (the largest of the inputs' ranks in each layer) or
    "full" (everything, exactly). `method` is svd (exact) or pca (randomised where a rank is
    given, with `oversampling`, `power_iterations` and `seed`). `layers` selects the modules of the result.
    `block_weights` is text, one `pattern: w1, w2, ...` per line, multiplied onto the weights; the
    last line that matches a module counts. `balance` weighs the files anew in every module. Modules
    whose spectral norm is at most `zero_tolerance` are dropped if `drop_near_zero`.
    Raises SettingError for settings that make no sense.
    """

    weights: Sequence[float] = (1.0,)
    rank: RankRule | int | str = AUTO
    method: str = "svd"
    layers: str = ""
    block_weights: str = ""
    drop_near_zero: bool = True
    zero_tolerance: float = 1e-12
    oversampling: int = 8
    power_iterations: int = 2
    seed: int = 0
    balance: WeightRule | Even | None = None

    def __post_init__(self) -> None:
        rank_rule(self.rank)
        one_of("method", self.method, METHODS)
        if not self.weights or not all(map(isfinite, self.weights)):
            raise SettingError(f"weights {self.weights} must be finite numbers", fix="1 is neutral")
        if self.oversampling < 0 or self.power_iterations < 0:
            raise SettingError(
                "oversampling and power iterations must be 0 or more", fix="8 and 2 are usual"
            )

    @property
    def ranks(self) -> RankRule:
        return rank_rule(self.rank)

    def weights_of(self, count: int) -> list[float]:
        """One weight for each of so many inputs."""
        if len(self.weights) not in (1, count):
            raise SettingError(
                f"{len(self.weights)} weights for {count} LoRAs",
                fix="give one for each, or one for all of them",
            )
        return list(self.weights) * (count if len(self.weights) == 1 else 1)


def rank_rule(rule: RankRule | int | str) -> RankRule:
    """A rank, "auto" or "full" as the rule that it means."""
    if isinstance(rule, RankRule):
        return rule
    if isinstance(rule, str):
        return RankRule(rule)
    if not isinstance(rule, int):
        raise SettingError(f"rank {rule!r} is no number", fix=f"give one, {AUTO!r} or {FULL!r}")
    return RankRule("rank", rule)


def blend(
    loras: Source | Sequence[Source],
    second: Source | None = None,
    settings: Blend = Blend(),
    output: Output = Output(),  # noqa: B008 - frozen
    compute: Compute = Compute(),  # noqa: B008 - frozen
    block_rule: BlockRule | None = None,
    keep: Callable[[str, Sequence[str]], bool] | None = None,
) -> Edited:
    """The weighted sum of one or more LoRAs, in the spelling of the first.

    `loras` is a list of them, or the first of at most two. What a rule cuts is cut at the optimum
    of Eckart and Young; a module that is only scaled keeps its kind. `block_rule` overrides
    `settings.block_weights`; `keep` decides on modules beside `settings.layers`, by canonical name
    and names in the inputs. Raises MismatchError for files that do not belong together, LoraError
    for kinds that cannot be added.
    """
    given: list[Any] = list(loras) if isinstance(loras, list | tuple) else [loras]
    given += [] if second is None else [second]
    inputs = open_together([Lora.of(source) for source in given])
    check_families(inputs)
    weights = settings.weights_of(len(inputs))
    targets = lay_out(inputs, output.spelling_for(inputs[0]))
    others = {key for lora in inputs for key in lora.other}
    names = [target.canonical for target in targets]
    chosen = Selector.parse(settings.layers).select([*names, *sorted(others)])
    if keep is not None:
        chosen &= {t.canonical for t in targets if keep(t.canonical, raw_names(t))}
    kept = [target for target in targets if target.canonical in chosen]
    if not kept:
        raise SettingError(
            "no module is selected", fix="widen the layers selector", file=inputs[0].name
        )
    rule = block_rule or parse_block_weights(settings.block_weights, names, len(inputs))
    recipe = recipe_of(settings, weights, output) | {
        name: "a function"
        for name, function in (("block_weights", block_rule), ("layers", keep))
        if function is not None
    }
    report = Report("blend", settings=recipe)
    report.dropped |= {name: "not selected" for name in names if name not in chosen}
    report.notes += speed_notes(inputs, weights)
    dtype = output.dtype_for(inputs[0])
    job = _Job(settings, weights, rule, dtype)
    if isinstance(settings.balance, Even) and settings.balance.whole_file:
        job = replace(job, weights=job.evened(kept, compute, [lora.name for lora in inputs]))
    others_chosen = others & chosen if settings.layers or keep is not None else None
    if settings.ranks.budget:
        budget = Budget(inputs, kept, dtype, job.exact, lambda *args: job.module(*args)[1])
        size = sum(lora.tensors.info[key].bytes for lora in inputs for key in lora.other)
        job = replace(job, planned=budget.ranks(settings.ranks, size, report, compute))
    return run(inputs, kept, job.module, output, report, compute, others_chosen)


SPEED_WORDS = re.compile(r"turbo|lightning|hyper-?sd|\blcm\b|distill|lightx2v", re.IGNORECASE)
TITLES = ("ss_output_name", "modelspec.title", "modelspec.trigger_phrase", "name")


def speed_notes(loras: Sequence[Lora], weights: Sequence[float]) -> list[str]:
    """A warning for each distilled speed LoRA that is blended at a weight other than 1."""
    result = []
    for lora, weight in zip(loras, weights, strict=False):
        texts = [lora.name, *(lora.metadata.get(key, "") for key in TITLES)]
        if weight != 1.0 and any(map(SPEED_WORDS.search, texts)):
            result.append(
                f"{lora.name} seems to be a distilled speed LoRA: at weight {weight:g}, not 1, "
                "the number of steps and the guidance it was made for no longer fit"
            )
    return result


def recipe_of(settings: Blend, weights: Sequence[float], output: Output) -> dict[str, Any]:
    """The settings as the recipe in the written file names them."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    rule = settings.balance
    text = "none" if rule is None else "a function"
    if isinstance(rule, Balance | Even):
        text = str(rule)
    return values | {
        "weights": list(weights),
        "rank": str(settings.ranks),
        "balance": text,
        "dtype": output.dtype,
        "spelling": output.spelling,
    }


def raw_names(target: Target) -> list[str]:
    return [contribution.module.raw for contribution in target.contributions]


@dataclass(frozen=True)
class _Job:
    """What the modules of one blend have in common. `planned` are the ranks of a budget."""

    settings: Blend
    weights: Sequence[float]
    rule: BlockRule
    dtype: torch.dtype
    planned: dict[str, Planned] = field(default_factory=dict)

    def module(self, target: Target, compute: Compute) -> Outcome:
        """One module of the result."""
        name, settings = target.canonical, self.settings
        ranks = [c.module.rank for c in target.contributions]
        mixed = self.mixed(target, compute)
        if mixed is None:
            return ModuleReport(name, "dropped", ranks, note="its weight is zero"), {}
        target, weights, updates = mixed
        if stays := self.stays(target, weights, compute):
            return stays
        update = self.added(target, weights, updates, compute)
        action: Action = "blended" if len(target.contributions) > 1 else "scaled"
        source = target.contributions[0].module
        if isinstance(update, Dense):
            row = ModuleReport(name, action, ranks, note=grown(target))
            largest = float(update.values.abs().max()) if update.values.numel() else 0.0
            if self.is_zero(largest):
                return ModuleReport(name, "dropped", ranks, note="zero"), {}
            row.note = notes_of(row, target)
            return written(row, encode(update, target, self.dtype, source), update.frobenius_norm())
        stored = [c.module.rank for c in target.contributions]
        estimate = self.sketched(update, settings.ranks.limit(stored))
        norm = None if estimate is update else update.frobenius_norm()
        planned = self.planned.get(name)
        result = cut(estimate, settings.ranks, stored, self.dtype, planned, norm)
        if self.is_zero(result.largest):
            return ModuleReport(name, "dropped", ranks, note="zero"), {}
        if not result.update.rank:
            row = ModuleReport(name, action, ranks, 1)
            return written(row, encode(update.zero(), target, self.dtype, source), 0.0)
        row = ModuleReport(
            name, action, ranks, result.update.rank, None, result.energy, result.error
        )
        if settings.ranks.name == "rank" and result.update.rank < settings.ranks.value:
            row.note = f"has rank {row.rank} only"
        row.note = notes_of(row, target)
        return written(row, encode(result.update, target, self.dtype, source), result.norm)

    def exact(self, target: Target, compute: Compute) -> LowRank | None:
        """The exact update where a rank is to be chosen for it, None where it is written whole."""
        mixed = self.mixed(target, compute)
        if mixed is None or self.stays(*mixed[:2], compute):
            return None
        target, weights, updates = mixed
        update = self.added(target, weights, updates, compute)
        return None if isinstance(update, Dense) else update

    def mixed(
        self, target: Target, compute: Compute
    ) -> tuple[Target, list[float], list[Update] | None] | None:
        """The target with only what counts in it, the weights of that, and the updates if computed.

        None where nothing counts.
        """
        multipliers = self.rule(target.canonical, raw_names(target))
        weights = [w * m for w, m in zip(self.weights, multipliers, strict=True)]
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

    def evened(
        self, targets: Sequence[Target], compute: Compute, files: Sequence[str]
    ) -> list[float]:
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
        whole = sum(stream(targets, lambda t: t.canonical, gram, quiet, files))
        assert isinstance(whole, torch.Tensor)
        factors = multipliers(whole, self.weights, self.settings.balance.strength)
        return [w * f for w, f in zip(self.weights, factors, strict=True)]

    def stays(self, target: Target, weights: Sequence[float], compute: Compute) -> Outcome | None:
        """The module in its own kind, where it is only scaled, or the kind can add by itself."""
        ranks = self.settings.ranks
        stored = [c.module.rank for c in target.contributions]
        only = target.only
        if only is None:
            return combined(target, weights, self.dtype, compute) if ranks.keeps_all else None
        limit = ranks.limit(stored)
        fits = ranks.keeps_all or only.rank is None
        if limit is not None and only.rank is not None:
            fits = ranks.clamp(limit, only.rank) >= only.rank
        found = copy(target, self.dtype, compute, weight=weights[0]) if fits else None
        if found and weights[0] != 1.0 and self.is_zero(found[0].norm or 0.0):
            return ModuleReport(target.canonical, "dropped", stored, note="zero"), {}
        return found

    def is_zero(self, size: float) -> bool:
        return self.settings.drop_near_zero and size <= self.settings.zero_tolerance

    def added(
        self,
        target: Target,
        weights: Sequence[float],
        updates: Sequence[Update] | None,
        compute: Compute,
    ) -> Update:
        """The exact weighted sum."""
        if updates is None:
            updates = target.updates(compute.device, compute.dtype)
        update = total([u.scaled(w) for u, w in zip(updates, weights, strict=True)])
        product = any(c.module.rank is not None for c in target.contributions)
        if isinstance(update, Dense) and product and not self.settings.ranks.keeps_all:
            # Too much for factors as a whole, such as a LoRA and a difference: at a rank, LoRA.
            return update.low_rank()
        return update

    def sketched(self, update: LowRank, rank: int | None) -> LowRank:
        """The update, or for pca an estimate of it of a little more than the wanted rank."""
        settings = self.settings
        if settings.method != "pca" or rank is None or rank >= update.rank:
            return update
        generator = torch.Generator().manual_seed(settings.seed)
        return randomised(update, rank, settings.oversampling, settings.power_iterations, generator)


def sums_of(target: Target, updates: Iterable[Update], count: int) -> list[Update | None]:
    """What each of `count` inputs adds to a module, None where it lacks it."""
    parts: list[list[Update]] = [[] for _ in range(count)]
    for contribution, update in zip(target.contributions, updates, strict=True):
        parts[contribution.input].append(update)
    return [total(terms) if terms else None for terms in parts]


def gram_of(updates: Sequence[Update | None]) -> torch.Tensor:
    """The inner products [n, n] of n updates of one weight, in float64; zeros where one is None."""
    gram = torch.zeros(len(updates), len(updates), dtype=torch.float64)
    for i, one in enumerate(updates):
        for j, other in enumerate(updates[: i + 1]):
            if one is not None and other is not None:
                gram[i, j] = gram[j, i] = inner(one, other)
    return gram


def spectral_norm(update: Update) -> float:
    if isinstance(update, LowRank):
        return update.spectral_norm()
    if len(update.shape) < 2 or not update.values.numel():
        return float(torch.linalg.vector_norm(update.values))
    return float(lapack.svdvals(update.values.flatten(1))[0])


def grown(target: Target) -> str:
    """Why a module that was stored as factors is written as a whole matrix."""
    kinds = {c.module.adapter.kind.name for c in target.contributions if c.module.rank is not None}
    if not kinds or len(target.contributions) < 2:
        return ""
    return f"{' and '.join(sorted(kinds))} do not add in their own form: stored as a whole matrix"
