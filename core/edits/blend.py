"""Blend: w1 * dW1 + w2 * dW2, module by module, exact until a rank is asked for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from math import hypot, isfinite
from typing import Any, NamedTuple

import torch

from ..algebra import lapack
from ..algebra.low_rank import Dense, LowRank, Update, total
from ..algebra.randomised import randomised
from ..algebra.rank_rules import retained
from ..errors import LoraError, SettingError, one_of
from ..merging.balance import Balance, WeightRule
from ..naming.selectors import Selector
from ..reading.inputs import check_families, open_pair
from ..reading.lora import Lora, Source
from ..running.encoding import encode
from ..running.layout import Target, lay_out
from ..running.output import Output
from ..running.report import Action, ModuleReport, Report
from ..running.stream import Compute
from .block_weights import BlockRule, parse_block_weights
from .edit import Edited, Outcome, run
from .unchanged import copy, notes_of

METHODS = ("svd", "pca")


@dataclass(frozen=True)
class Blend:
    """The settings of a blend.

    `rank` None keeps everything, exactly. `method` is svd (exact) or pca (randomised, with
    `oversampling`, `power_iterations` and `seed`). `layers` selects the modules of the result.
    `block_weights` is text, one `pattern: w1, w2` per line, multiplied onto the weights; the last
    line that matches a module counts. `balance` weighs the files anew in every module. Modules
    whose spectral norm is at most `zero_tolerance` are dropped if `drop_near_zero`.
    Raises LoraError for settings that make no sense.
    """

    weights: tuple[float, float] = (1.0, 1.0)
    rank: int | None = 32
    method: str = "svd"
    layers: str = ""
    block_weights: str = ""
    drop_near_zero: bool = True
    zero_tolerance: float = 1e-12
    oversampling: int = 8
    power_iterations: int = 2
    seed: int = 0
    balance: WeightRule | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise LoraError(f"rank {self.rank} must be 1 or more, or 'full' to keep everything")
        one_of("method", self.method, METHODS)
        if not all(map(isfinite, self.weights)):
            raise LoraError(f"weights {self.weights} must be finite numbers")
        if self.oversampling < 0 or self.power_iterations < 0:
            raise LoraError("oversampling and power iterations must be 0 or more")


def blend(
    first: Source,
    second: Source | None = None,
    settings: Blend = Blend(),
    output: Output = Output(),  # noqa: B008 - frozen
    compute: Compute = Compute(),  # noqa: B008 - frozen
    block_rule: BlockRule | None = None,
    keep: Callable[[str, Sequence[str]], bool] | None = None,
) -> Edited:
    """The weighted sum of one or two LoRAs, in the spelling of the first.

    Truncation to `settings.rank` is the optimum of Eckart and Young; nothing is truncated where
    the exact sum has no more than that rank. `block_rule` overrides `settings.block_weights`;
    `keep` decides on modules beside `settings.layers`, by canonical name and names in the inputs.
    Raises LoraError for files that do not belong together and for kinds that cannot be added.
    """
    loras = [Lora.of(first)]
    if second is not None:
        loras = list(open_pair(loras[0], Lora.of(second)))
    check_families(loras)
    targets = lay_out(loras, output.spelling_for(loras[0]))
    others = {key for lora in loras for key in lora.other}
    names = [target.canonical for target in targets]
    chosen = Selector.parse(settings.layers).select([*names, *sorted(others)])
    if keep is not None:
        chosen &= {t.canonical for t in targets if keep(t.canonical, raw_names(t))}
    kept = [target for target in targets if target.canonical in chosen]
    if not kept:
        raise LoraError(f"no module of {loras[0].name} is selected; nothing is written")
    rule = block_rule or parse_block_weights(settings.block_weights, names)
    recipe = recipe_of(settings, output) | {
        name: "a function"
        for name, given in (("block_weights", block_rule), ("layers", keep))
        if given is not None
    }
    report = Report("blend", settings=recipe)
    report.dropped |= {name: "not selected" for name in names if name not in chosen}
    report.notes += speed_notes(loras, settings.weights)
    dtype = output.dtype_for(loras[0])

    def one(target: Target, compute: Compute) -> Outcome:
        return _blend_module(target, settings, rule, compute, dtype)

    others_chosen = others & chosen if settings.layers or keep is not None else None
    return run(loras, kept, one, output, report, compute, others_chosen)


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


def recipe_of(settings: Blend, output: Output) -> dict[str, Any]:
    """The settings as the recipe in the written file names them."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    rule = settings.balance
    text = str(rule) if isinstance(rule, Balance) else "none" if rule is None else "a function"
    return values | {"balance": text} | output.recipe()


def raw_names(target: Target) -> list[str]:
    return [contribution.module.raw for contribution in target.contributions]


def _blend_module(
    target: Target, settings: Blend, rule: BlockRule, compute: Compute, dtype: torch.dtype
) -> Outcome:
    name = target.canonical
    ranks = [c.module.rank for c in target.contributions]
    multipliers = rule(name, raw_names(target))
    weights = [w * m for w, m in zip(settings.weights, multipliers, strict=True)]
    updates = None
    if settings.balance is not None:
        updates = target.updates(compute.device, compute.dtype)
        balanced = settings.balance(name, *_spectral_norms(target, updates))
        weights = [w * b for w, b in zip(weights, balanced, strict=True)]
    if not all(map(isfinite, weights)):
        raise SettingError(f"its weights {weights} must be finite numbers")
    counting = [i for i, c in enumerate(target.contributions) if weights[c.input] != 0.0]
    if not counting and settings.drop_near_zero:
        return ModuleReport(name, "dropped", ranks, note="its weight is zero"), {}
    counting = counting or [0]
    target = replace(target, contributions=tuple(target.contributions[i] for i in counting))
    only = target.only
    if only is not None and weights[target.contributions[0].input] == 1.0:
        fits = only.rank is None or settings.rank is None or only.rank <= settings.rank
        if fits and (copied := copy(target, dtype, compute)):
            return copied
    if updates is None:
        updates = target.updates(compute.device, compute.dtype)
    else:
        updates = [updates[i] for i in counting]
    update = total(
        [
            update.scaled(weights[contribution.input])
            for update, contribution in zip(updates, target.contributions, strict=True)
        ]
    )
    action: Action = "blended" if len(target.contributions) > 1 else "scaled"
    product = any(c.module.rank is not None for c in target.contributions)
    if isinstance(update, Dense) and product and settings.rank is not None:
        # Too much for factors as a whole, such as a LoRA and a difference: at a rank, LoRA it is.
        update = update.low_rank()
    if isinstance(update, Dense):
        row = ModuleReport(name, action, ranks, norm=update.frobenius_norm())
        largest = float(update.values.abs().max()) if update.values.numel() else 0.0
        if settings.drop_near_zero and largest <= settings.zero_tolerance:
            return ModuleReport(name, "dropped", ranks, note="zero"), {}
    else:
        cut = _truncate(update, settings)
        if cut is None:
            return ModuleReport(name, "dropped", ranks, note="zero"), {}
        update = cut.update
        row = ModuleReport(
            name, action, ranks, update.rank, cut.norm, cut.energy, cut.error, cut.note
        )
    row.note = notes_of(row, target)
    row.inputs = sorted({c.input for c in target.contributions})
    return row, encode(update, target, dtype, target.contributions[0].module)


def _spectral_norms(target: Target, updates: Sequence[Update]) -> list[float | None]:
    """The spectral norm of what each of two inputs adds to a module, None where it lacks it."""
    norms: list[float | None] = [None, None]
    for index in (0, 1):
        pairs = zip(target.contributions, updates, strict=True)
        terms = [update for contribution, update in pairs if contribution.input == index]
        if terms:
            norms[index] = _spectral_norm(total(terms))
    return norms


def _spectral_norm(update: Update) -> float:
    if isinstance(update, LowRank):
        return update.spectral_norm()
    if len(update.shape) < 2 or not update.values.numel():
        return float(torch.linalg.vector_norm(update.values))
    return float(lapack.svdvals(update.values.flatten(1))[0])


class Cut(NamedTuple):
    """An update at the rank that was asked for, and what was kept of the exact one.

    `norm` is the Frobenius norm of the exact update, `energy` the share of its square that was
    kept, `error` what is lost relative to `norm`.
    """

    update: LowRank
    norm: float
    energy: float = 1.0
    error: float = 0.0
    note: str = ""


def _truncate(update: LowRank, settings: Blend) -> Cut | None:
    """The update at the target rank; None where nothing of it is left and such are dropped."""
    rank = settings.rank
    if rank is None and update.rank <= min(update.up.shape[0], update.down.shape[1]):
        norm = update.frobenius_norm()
        if norm > 1e-3 * update.magnitude():
            # Nothing to cut, nothing that cancels: the factors side by side are the exact sum.
            return Cut(update.balanced(), norm)
    whole = update
    if settings.method == "pca" and rank is not None and rank < update.rank:
        generator = torch.Generator().manual_seed(settings.seed)
        update = randomised(
            update, rank, settings.oversampling, settings.power_iterations, generator
        )
    values = update.svd.values.tolist()
    norm = hypot(*values) if update is whole else whole.frobenius_norm()
    if not values or values[0] <= settings.zero_tolerance:
        return None if settings.drop_near_zero else Cut(update.zero(), 0.0)
    kept = min(rank or len(values), len(values))
    note = f"has rank {kept} only" if rank is not None and kept < rank else ""
    return Cut(update.truncated(kept), norm, *retained(values, kept, norm), note)
