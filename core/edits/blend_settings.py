"""What a blend can be asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import PurePath
from typing import Any

from ..algebra.rank_rules import AUTO, FULL, RankRule
from ..errors import SettingError, one_of
from ..merging.balance import Balance, WeightRule
from ..merging.even import Even
from ..merging.merge import Merge
from ..running.output import Output

TRUNCATIONS = ("svd", "pca")
# As large as the largest input: nothing, each layer, or the whole file by one factor.
AS_IT_IS, PER_LAYER, PER_FILE = STRENGTHS = ("none", "auto", "auto-file")


@dataclass(frozen=True)
class Blend:
    """The settings of a blend.

    `weights` has one number for every LoRA, or one for all of them, or is a mapping from patterns
    of their names to numbers, such as {"epoch*": 0.25, "style*": 1.0}; the last that fits counts.
    `rank` says how many ranks the result keeps: a number, a RankRule, "auto" (the largest of the
    inputs' ranks in each layer) or "full" (everything, exactly). `method` is one of the merge
    methods, with its `parameters` where they are not to be its own; "sum", the plain weighted sum,
    is the only one for which a module of any kind can stay in its kind. `strength` "auto" scales
    each layer so that it is as large as the largest of its inputs, "auto-file" all of them by one
    factor. `truncation` is svd (exact) or pca (randomised where a rank is given, with
    `oversampling` and `power_iterations`; Halko, Martinsson and Tropp 2011); `seed` is for all that
    draws at random. `layers` selects the modules of the result.
    `block_weights` is text, one `pattern: w1, w2, ...` per line, multiplied onto the weights; the
    last line that matches a module counts. `balance` weighs the files anew in every module: a
    Balance, an Even, or a function of (module, norm 1, norm 2).
    Modules whose spectral norm is at most `zero_tolerance` are dropped if `drop_near_zero`: those
    that are zero, unless it says otherwise.
    Raises SettingError for settings that make no sense.

    >>> settings = core.Blend((0.8, 0.6), rank=16, block_weights="double_blocks: 0, 1")
    """

    weights: Sequence[float] | Mapping[str, float] = (1.0,)
    rank: RankRule | int | str = AUTO
    method: str = "sum"
    parameters: Mapping[str, float | bool] = field(default_factory=dict)
    strength: str = AS_IT_IS
    layers: str = ""
    block_weights: str = ""
    drop_near_zero: bool = True
    zero_tolerance: float = 0.0
    truncation: str = "svd"
    oversampling: int = 8
    power_iterations: int = 2
    seed: int = 0
    balance: WeightRule | Even | None = None

    def __post_init__(self) -> None:
        rank_rule(self.rank)
        Merge(self.method, self.parameters)
        one_of("strength", self.strength, STRENGTHS)
        one_of("truncation", self.truncation, TRUNCATIONS)
        weights = self.weights.values() if isinstance(self.weights, Mapping) else self.weights
        if not weights or not all(map(isfinite, weights)):
            raise SettingError(f"weights {self.weights} must be finite numbers", fix="1 is neutral")
        if self.oversampling < 0 or self.power_iterations < 0:
            raise SettingError(
                "oversampling and power iterations must be 0 or more", fix="8 and 2 are usual"
            )
        if not -(2**63) <= self.seed < 2**64:
            raise SettingError(f"seed {self.seed} has more than 64 bits", fix="0 is usual")
        if max(self.oversampling, self.power_iterations) >= 2**31:
            raise SettingError(
                "oversampling and power iterations must be below 2^31", fix="8 and 2 are usual"
            )

    @property
    def ranks(self) -> RankRule:
        return rank_rule(self.rank)

    def weights_of(self, names: Sequence[str]) -> list[float]:
        """One weight for each of the inputs with these names."""
        if isinstance(self.weights, Mapping):
            return weights_by_name(self.weights, names)
        if len(self.weights) not in (1, len(names)):
            raise SettingError(
                f"{len(self.weights)} weights for {len(names)} LoRAs",
                fix="give one for each, or one for all of them",
            )
        return list(self.weights) * (len(names) if len(self.weights) == 1 else 1)


def weights_by_name(weights: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """For each name the weight of the last pattern that fits it, or it without folder or ending.

    Raises SettingError for a name or a pattern that is left over.
    """

    def fits(name: str, pattern: str) -> bool:
        bare = PurePath(name).name
        forms = (name, bare, bare.removesuffix(".safetensors"))
        return any(fnmatchcase(form, pattern) for form in forms)

    found = [[p for p in weights if fits(name, p)] for name in names]
    for name, patterns in zip(names, found, strict=True):
        if not patterns:
            raise SettingError(
                "no pattern of the weights fits it", fix="add one, such as '*=1'", file=name
            )
    for pattern in weights:
        if not any(pattern in patterns for patterns in found):
            raise SettingError(
                f"no file fits the pattern {pattern!r} of the weights",
                fix=f"the files are {', '.join(names)}",
            )
    return [weights[patterns[-1]] for patterns in found]


def rank_rule(rule: RankRule | int | str) -> RankRule:
    """A rank, "auto" or "full" as the rule that it means."""
    if isinstance(rule, RankRule):
        return rule
    if isinstance(rule, str):
        return RankRule(rule)
    if not isinstance(rule, int):
        raise SettingError(f"rank {rule!r} is no number", fix=f"give one, {AUTO!r} or {FULL!r}")
    return RankRule("rank", rule)


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
        "parameters": dict(settings.parameters),
        **output.recipe(),
    }
