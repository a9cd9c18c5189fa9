"""What a blend can be asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any

from ..algebra.rank_rules import AUTO, FULL, RankRule
from ..errors import SettingError, one_of
from ..merging.balance import Balance, WeightRule
from ..merging.even import Even
from ..merging.merge import Merge
from ..running.output import Output

TRUNCATIONS = ("svd", "pca")


@dataclass(frozen=True)
class Blend:
    """The settings of a blend.

    `weights` has one number for every LoRA, or one for all of them. `rank` says how many ranks the
    result keeps: a number, a RankRule, "auto" (the largest of the inputs' ranks in each layer) or
    "full" (everything, exactly). `method` is one of the merge methods, with its `parameters` where
    they are not to be its own; "sum", the plain weighted sum, is the only one for which a module of
    any kind can stay in its kind. `auto_strength` scales each layer so that it is as large as the
    largest of its inputs. `truncation` is svd (exact) or pca (randomised where a rank is given,
    with `oversampling` and `power_iterations`; Halko, Martinsson and Tropp 2011); `seed` is for all
    that draws at random. `layers` selects the modules of the result.
    `block_weights` is text, one `pattern: w1, w2, ...` per line, multiplied onto the weights; the
    last line that matches a module counts. `balance` weighs the files anew in every module: a
    Balance, an Even, or a function of (module, norm 1, norm 2).
    Modules whose spectral norm is at most `zero_tolerance` are dropped if `drop_near_zero`.
    Raises SettingError for settings that make no sense.

    >>> settings = core.Blend((0.8, 0.6), rank=16, block_weights="double_blocks: 0, 1")
    """

    weights: Sequence[float] = (1.0,)
    rank: RankRule | int | str = AUTO
    method: str = "sum"
    parameters: Mapping[str, float | bool] = field(default_factory=dict)
    auto_strength: bool = False
    layers: str = ""
    block_weights: str = ""
    drop_near_zero: bool = True
    zero_tolerance: float = 1e-12
    truncation: str = "svd"
    oversampling: int = 8
    power_iterations: int = 2
    seed: int = 0
    balance: WeightRule | Even | None = None

    def __post_init__(self) -> None:
        rank_rule(self.rank)
        Merge(self.method, self.parameters)
        one_of("truncation", self.truncation, TRUNCATIONS)
        if not self.weights or not all(map(isfinite, self.weights)):
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
