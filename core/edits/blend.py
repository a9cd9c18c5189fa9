"""Blend: w1 * dW1 + w2 * dW2, module by module, exact until a rank is asked for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import hypot, isfinite
from typing import Any

import torch

from ..algebra import lapack
from ..algebra.low_rank import Dense, LowRank, Update, total
from ..algebra.randomised import randomised
from ..algebra.rank_rules import retained
from ..errors import LoraError
from ..merging.balance import WeightRule
from ..naming.selectors import Selector
from ..reading.lora import Lora, Source
from ..running.encoding import encode
from ..running.layout import Target, check_families, lay_out, open_pair
from ..running.output import Output
from ..running.report import ModuleReport, Report
from ..running.stream import Compute
from .block_weights import BlockRule, parse_block_weights
from .edit import Edited, Outcome, run
from .unchanged import copy, explained

METHODS = ("svd", "pca")


@dataclass(frozen=True)
class Blend:
    """The settings of a blend.

    `rank` None keeps everything, exactly. `method` is svd (exact) or pca (randomised, with
    `oversampling`, `power_iterations` and `seed`). `layers` selects the modules of the result.
    `block_weights` is text, one `pattern: w1, w2` per line, multiplied onto the weights; the last
    line that matches a module counts. `balance` is a rule from the `balance` module. Modules whose
    spectral norm is at most `zero_tolerance` are dropped if `drop_near_zero`.
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
    balance: WeightRule | None = field(default=None, compare=False)
    balance_name: str = "none"

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise LoraError(f"rank {self.rank} must be 1 or more, or 'full' to keep everything")
        if self.method not in METHODS:
            raise LoraError(
                f"method {self.method!r} is unknown; choose one of {', '.join(METHODS)}"
            )
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
    recipe = described(settings, output) | {
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


def described(settings: Blend, output: Output) -> dict[str, Any]:
    """The settings as the recipe in the written file names them."""
    result = {name: value for name, value in asdict(settings).items() if name != "balance"}
    if settings.balance is not None and settings.balance_name == "none":
        result["balance_name"] = "a function"
    return result | {"dtype": output.dtype, "spelling": output.spelling}


def raw_names(target: Target) -> list[str]:
    return [contribution.module.raw for contribution in target.contributions]


def _blend_module(
    target: Target, settings: Blend, rule: BlockRule, compute: Compute, dtype: torch.dtype
) -> Outcome:
    name = target.canonical
    ranks = [c.module.rank for c in target.contributions]
    weights = _weights(target, settings, rule, compute)
    counting = tuple(c for c in target.contributions if weights[c.input] != 0.0)
    if not counting and settings.drop_near_zero:
        return ModuleReport(name, "dropped", ranks, note="its weight is zero"), {}
    target = replace(target, contributions=counting or target.contributions[:1])
    only = target.only
    if only is not None and weights[target.contributions[0].input] == 1.0:
        fits = only.rank is None or settings.rank is None or only.rank <= settings.rank
        if fits and (copied := copy(target, dtype, compute)):
            return copied
    update = _weighted_sum(target, weights, compute)
    action = "blended" if len(target.contributions) > 1 else "scaled"
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
        update, row = _truncate(name, update, settings)
        row.ranks = ranks
        row.action = row.action or action
        if row.action == "dropped":
            return row, {}
    row = explained(row, target)
    return row, encode(update, target, dtype, target.contributions[0].module)


def _weighted_sum(target: Target, weights: tuple[float, float], compute: Compute) -> Update:
    updates = target.updates(compute.device, compute.dtype)
    return total(
        [
            update.scaled(weights[contribution.input])
            for update, contribution in zip(updates, target.contributions, strict=True)
        ]
    )


def _weights(
    target: Target, settings: Blend, rule: BlockRule, compute: Compute
) -> tuple[float, float]:
    multipliers = rule(target.canonical, raw_names(target))
    weights = [w * m for w, m in zip(settings.weights, multipliers, strict=True)]
    if settings.balance is not None:
        norms: list[float | None] = [None, None]
        for index in (0, 1):
            terms = [
                c.update(compute.device, compute.dtype)
                for c in target.contributions
                if c.input == index
            ]
            if terms:
                norms[index] = _spectral_norm(total(terms))
        balanced = settings.balance(target.canonical, norms[0], norms[1])
        weights = [w * b for w, b in zip(weights, balanced, strict=True)]
    if not all(map(isfinite, weights)):
        raise LoraError(f"module {target.canonical}: its weights {weights} must be finite numbers")
    return weights[0], weights[1]


def _spectral_norm(update: Update) -> float:
    if isinstance(update, LowRank):
        return update.spectral_norm()
    if len(update.shape) < 2 or not update.values.numel():
        return float(torch.linalg.vector_norm(update.values))
    return float(lapack.svdvals(update.values.flatten(1))[0])


def _truncate(name: str, update: LowRank, settings: Blend) -> tuple[LowRank, ModuleReport]:
    """The update at the target rank, and its row: what was kept of it."""
    rank = settings.rank
    if rank is None and update.rank <= min(update.up.shape[0], update.down.shape[1]):
        norm = update.frobenius_norm()
        if norm > 1e-3 * update.magnitude():
            # Nothing to cut, nothing that cancels: the factors side by side are the exact sum.
            return update.balanced(), ModuleReport(name, "", [], update.rank, norm)
    whole = update
    if settings.method == "pca" and rank is not None and rank < update.rank:
        generator = torch.Generator().manual_seed(settings.seed)
        update = randomised(
            update, rank, settings.oversampling, settings.power_iterations, generator
        )
    values = update.svd.values.tolist()
    norm = hypot(*values) if update is whole else whole.frobenius_norm()
    if not values or values[0] <= settings.zero_tolerance:
        if settings.drop_near_zero:
            return update, ModuleReport(name, "dropped", [], note="zero")
        zero = LowRank(update.up[:, :1] * 0, update.down[:1] * 0, update.shape)
        return zero, ModuleReport(name, "", [], zero.rank, 0.0)
    kept = min(rank or len(values), len(values))
    row = ModuleReport(name, "", [], kept, norm)
    row.retained_energy, row.relative_error = retained(values, kept, norm)
    if rank is not None and kept < rank:
        row.note = f"has rank {kept} only"
    return update.truncated(kept), row
