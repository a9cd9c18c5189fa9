"""How many singular values to keep.

Every rule gets the whole spectrum of a layer (descending) and answers with a rank; the budget rule
looks at all layers of a file at once. The names are those that users of kohya's scripts, KJNodes
and resize tools know.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum, inf, sqrt

from ..deferred import Tensor, torch
from ..errors import SettingError, one_of


def fixed(values: Tensor, rank: float) -> int:
    return int(rank)


def energy(values: Tensor, share: float) -> int:
    """The smallest rank whose kept sum of squares reaches `share` of the whole."""
    return _reach(values.square(), share)


def cumulative(values: Tensor, share: float) -> int:
    """The smallest rank whose kept sum of singular values reaches `share` of the whole."""
    return _reach(values, share)


def frobenius(values: Tensor, share: float) -> int:
    """The smallest rank whose Frobenius norm reaches `share` of the whole."""
    return _reach(values.square(), share**2)


def ratio(values: Tensor, limit: float) -> int:
    """Every singular value that is at least the largest divided by `limit`."""
    return int((values >= values[0] / limit).sum())


def knee(values: Tensor, _: float) -> int:
    """The knee of the spectrum: the point farthest below the line from its first to its last value.

    Kneedle for a convex decreasing curve (Satopaa et al. 2011). Where no point lies below that
    line there is no knee, and nothing is cut.
    """
    if values[0] == values[-1]:
        return len(values)
    height = (values - values[-1]) / (values[0] - values[-1])
    position = torch.linspace(0, 1, len(values), dtype=values.dtype, device=values.device)
    below = 1 - height - position
    return int(torch.argmax(below)) + 1 if below.max() > 1e-9 else len(values)


def everything(values: Tensor, _: float) -> int:
    return len(values)


def _reach(weights: Tensor, share: float) -> int:
    running = torch.cumsum(weights, 0)
    # A share of 1.0 must keep everything, also where rounding lets the sum stop growing earlier.
    if share >= 1.0:
        return len(weights)
    # 0.8 ** 2 is a little more than 0.64: what meets a share to rounding meets it.
    return int((running < share * (1 - 1e-12) * running[-1]).sum()) + 1


AUTO, FULL = "auto", "full"
RULES: dict[str, Callable[[Tensor, float], int]] = {
    AUTO: everything,
    FULL: everything,
    "rank": fixed,
    "energy": energy,
    "sv_ratio": ratio,
    "sv_cumulative": cumulative,
    "sv_fro": frobenius,
    "knee": knee,
}
BUDGETS = ("megabytes", "parameters")
WHOLE = "a rank is a whole number of 1 or more"


@dataclass(frozen=True)
class RankRule:
    """How many singular values are kept: `name` is a rule, `value` its number.

        full                    everything
        auto                    the largest of the ranks that the inputs have in a layer
        rank            R       R of them
        energy          0 to 1  until their squares add up to that share of all squares
        sv_cumulative   0 to 1  until they add up to that share of their sum
        sv_fro          0 to 1  until their norm is that share of the norm of all
        sv_ratio        >= 1    those of at least the largest divided by this
        knee                    up to the knee of the curve (Kneedle, Satopaa et al. 2011)
        megabytes       MB      the whole file (10^6 bytes), every rank where it helps most
        parameters      count   as megabytes, in numbers of the factors

    The answer of every rule is clamped to [`min_rank`, `max_rank`], and to the rank that the update
    has. Raises SettingError for an unknown name and for a number outside the rule's range.

    >>> import torch
    >>> core.RankRule("energy", 0.9).rank(torch.tensor([3.0, 1.0, 1.0]))
    2
    >>> print(core.RankRule("knee", max_rank=16))
    knee max_rank=16
    """

    name: str
    value: float = 0.0
    min_rank: int = 1
    max_rank: int | None = None

    def __post_init__(self) -> None:
        one_of("rank rule", self.name, (*RULES, *BUDGETS))
        numbers = (self.value, self.min_rank, self.max_rank or 0)
        if any(isinstance(number, int) and abs(number) >= 2**63 for number in numbers):
            raise SettingError(f"rank rule {self.name} has a number of over 64 bits", fix=WHOLE)
        needed = ""
        if self.name == "rank" and not (self.value >= 1 and float(self.value).is_integer()):
            needed = WHOLE
        if self.name in ("energy", "sv_cumulative", "sv_fro") and not 0 < self.value <= 1:
            needed = "a share lies above 0 and up to 1, such as 0.95"
        if self.name == "sv_ratio" and not self.value >= 1:
            needed = "the ratio of the largest to the smallest kept is 1 or more"
        if self.name in BUDGETS and not self.value > 0:
            needed = "a budget is above 0"
        if needed:
            raise SettingError(f"rank rule {self.name} = {self.value:g} has no meaning", fix=needed)
        if self.min_rank < 1:
            raise SettingError(f"minimum rank {self.min_rank} has no meaning", fix=WHOLE)
        if self.max_rank is not None and self.max_rank < self.min_rank:
            raise SettingError(
                f"maximum rank {self.max_rank} is below the minimum rank {self.min_rank}",
                fix="raise the one or lower the other",
            )

    def __str__(self) -> str:
        limits = [f"min_rank={self.min_rank}"] if self.min_rank > 1 else []
        limits += [f"max_rank={self.max_rank}"] if self.max_rank else []
        value = [] if self.name in (AUTO, FULL, "knee") else [f"{self.value:g}"]
        return " ".join([self.name, *value, *limits])

    @property
    def budget(self) -> bool:
        return self.name in BUDGETS

    def limit(self, stored: Sequence[int | None]) -> int | None:
        """The most that is kept of a layer of these stored ranks, if no spectrum is needed.

        None where the spectrum decides, and where all is kept: a layer that is stored whole has no
        rank, and "auto" leaves it whole.
        """
        if self.name == "rank":
            return int(self.value)
        if self.name == AUTO and all(rank is not None for rank in stored):
            return max((rank for rank in stored if rank is not None), default=None)
        return None

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is cut beyond the limit."""
        return self.name in (AUTO, FULL)

    def clamp(self, rank: int, available: int) -> int:
        return min(max(rank, self.min_rank), self.max_rank or available, available)

    def rank(self, values: Tensor) -> int:
        """The rank to keep of a layer with these singular values (descending, above noise)."""
        if len(values) == 0:
            return 0
        return self.clamp(RULES[self.name](values / values[0], self.value), len(values))


@dataclass(frozen=True)
class Spectrum:
    """A layer as the budget sees it: its singular values and what one rank of it costs."""

    values: list[float]
    cost: int


def budget_ranks(spectra: list[Spectrum], budget: float, rule: RankRule) -> list[int]:
    """Ranks for all layers whose total cost stays within `budget`, with the least squared error.

    Every layer first gets its minimum; then singular values are taken over the whole file in the
    order of sigma^2 / cost, the greedy solution of the fractional knapsack. Raises SettingError
    when even the minimum ranks cost more.
    """
    ranks = [rule.clamp(0, len(s.values)) if s.values else 0 for s in spectra]
    left = budget - sum(rank * s.cost for rank, s in zip(ranks, spectra, strict=True))
    if left < 0:
        least = budget - left
        raise SettingError(
            f"the budget of {budget:.0f} is below what rank {rule.min_rank} in every layer needs "
            f"({least:.0f})",
            fix="raise it, or leave layers out",
        )
    limits = [min(len(s.values), rule.max_rank or len(s.values)) for s in spectra]

    def gain(index: int) -> float:
        s = spectra[index]
        value = s.values[ranks[index]]
        return -value * value / s.cost if s.cost else -inf

    queue = [(gain(i), i) for i in range(len(spectra)) if ranks[i] < limits[i]]
    heapq.heapify(queue)
    while queue:
        _, index = heapq.heappop(queue)
        if spectra[index].cost > left:
            continue  # Later values of this layer cost the same; cheaper layers may still fit.
        left -= spectra[index].cost
        ranks[index] += 1
        if ranks[index] < limits[index]:
            heapq.heappush(queue, (gain(index), index))
    return ranks


def retained(values: Sequence[float], rank: int, norm: float) -> tuple[float, float]:
    """(share of the energy in the first `rank` singular values, relative error of keeping them).

    The lost part is summed by itself where the whole spectrum is known: 1 - share has no digits
    left when almost everything is kept.
    """
    if norm == 0:
        return 1.0, 0.0
    shares = [(value / norm) ** 2 for value in values]
    kept, lost = fsum(shares[:rank]), fsum(shares[rank:])
    lost = max(lost, 1.0 - kept if 1.0 - kept > 1e-6 else 0.0)
    return max(0.0, 1.0 - lost), sqrt(lost)
