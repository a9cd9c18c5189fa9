"""What is measured of tensors and updates: two open registries, name -> function.

A statistic is a function that returns its columns. One of tensors sees the entries of A, B or dW, a
tile at a time; one of updates sees dW as it is stored, in factors, and never its entries. To add
one, decorate a function; analyses made after that have its columns, `<tensor>.<name>.<key>`:

    @tensor_statistic("kurtosis")
    def kurtosis(entries):
        fourth = sum(float((tile - entries.mean).pow(4).sum()) for tile in entries.tiles())
        return {"excess": fourth / entries.count / entries.standard_deviation**4 - 3}

A name that is taken is replaced. What a function raises becomes the column `<tensor>.<name>.error`
of that row, and the analysis goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

from ..algebra import lapack
from ..algebra.cached import cached_property
from ..algebra.gram import gram_matrix
from ..algebra.kronecker import Kronecker
from ..algebra.low_rank import LowRank
from ..algebra.update import Update
from ..deferred import Tensor, torch
from ..running.stream import out_of_memory
from .elements import PERCENTILES, Entries

Columns = Mapping[str, float]
Function = TypeVar("Function", bound=Callable[..., Columns])


@dataclass(frozen=True)
class Measured:
    """An update as the statistics of updates see it.

    `top` is how many singular values get a column of their own.
    """

    update: Update
    top: int = 8

    @property
    def count(self) -> int:
        return prod(self.update.shape)

    @cached_property
    def values(self) -> Tensor:
        """The singular values of dW as an [out, in * kernel] matrix: float64, on the CPU,
        descending, without those that are rounding noise."""
        if isinstance(self.update, LowRank):
            return self.update.precise_singular_values()
        if isinstance(self.update, Kronecker):
            values = self.update.singular_values()
            return values[values > torch.finfo(self.update.first.dtype).eps * values[:1]]
        matrix = self.update.matrix
        if matrix.dtype == torch.float64:
            values = lapack.svdvals(matrix)
        else:
            # With a float64 Gram matrix: more accurate than float32's svd, at half of its time.
            tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
            values = torch.linalg.eigvalsh(gram_matrix(tall)).clamp_min(0).sqrt().flip(0)
        noise = torch.finfo(matrix.dtype).eps * values[:1]
        return values[values > noise].double().cpu()

    @cached_property
    def mean(self) -> float:
        """The mean of the entries: (column sums of up) . (row sums of down) / their number."""
        if isinstance(self.update, LowRank):
            up = self.update.up.sum(0, dtype=torch.float64)
            down = self.update.down.sum(1, dtype=torch.float64)
            return float(up @ down) / max(self.count, 1)
        return self.update.sum_of_entries() / max(self.count, 1)

    @cached_property
    def l2(self) -> float:
        """The Frobenius norm: the norm of the singular values."""
        return float(torch.linalg.vector_norm(self.values))

    @cached_property
    def entries(self) -> Entries:
        return Entries.of_update(self.update, self.mean, self.l2)


TensorStatistic = Callable[[Entries], Columns]
UpdateStatistic = Callable[[Measured], Columns]
TENSOR_STATISTICS: dict[str, TensorStatistic] = {}
UPDATE_STATISTICS: dict[str, UpdateStatistic] = {}


def tensor_statistic(name: str) -> Callable[[Function], Function]:
    """Register a function Entries -> {key: number}, measured of A, B and dW.

    It is a decorator. `name` stands in the names of its columns, `<tensor>.<name>.<key>`; a name
    that is taken is replaced. The entries come a tile at a time, as `tiles()`, with `count`,
    `mean`, `standard_deviation` and more. What a function raises becomes the column
    `<tensor>.<name>.error`.

    >>> @core.tensor_statistic("cubes")
    ... def cubes(entries):
    ...     return {"sum": sum(float(tile.pow(3).sum()) for tile in entries.tiles())}
    >>> "dW.cubes.sum" in core.analyze_lora(core.samples()[1], "cpu", layers="*proj")
    True
    """
    return _register(TENSOR_STATISTICS, name)


def update_statistic(name: str) -> Callable[[Function], Function]:
    """Register a function Measured -> {key: number}, measured of dW at both levels.

    It is a decorator. `name` stands in the names of its columns, `dW.<name>.<key>`; a name that is
    taken is replaced. It sees the `update` as factors and its singular `values`, never its entries.
    What a function raises becomes the column `dW.<name>.error`.

    >>> @core.update_statistic("tail")
    ... def tail(measured):
    ...     return {"smallest": float(measured.values[-1])}
    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral", layers="*proj")
    >>> "dW.tail.smallest" in table
    True
    """
    return _register(UPDATE_STATISTICS, name)


def _register(registry: dict[str, Any], name: str) -> Callable[[Function], Function]:
    def keep(function: Function) -> Function:
        registry[name] = function
        return function

    return keep


def columns_of(registry: Mapping[str, Callable[[Any], Columns]], of: Any, tensor: str) -> Columns:
    """Every statistic of a registry as `<tensor>.<name>.<key>` columns."""
    row: dict[str, Any] = {}
    for name, function in registry.items():
        try:
            columns = function(of)
            row |= {f"{tensor}.{name}.{key}": value for key, value in columns.items()}
        except Exception as error:
            if out_of_memory(error):
                raise  # Not the statistic's fault, and the caller may know another device.
            row[f"{tensor}.{name}.error"] = f"{type(error).__name__}: {error}"
    return row


@tensor_statistic("basic")
def basic(entries: Entries) -> Columns:
    return {
        "min": entries.minimum,
        "max": entries.maximum,
        "mean": entries.mean,
        "std": entries.standard_deviation,
        "median": entries.median,
    }


@tensor_statistic("sign")
def sign(entries: Entries) -> Columns:
    counts = {"pos": entries.positive, "neg": entries.negative}
    counts["zero"] = entries.count - counts["pos"] - counts["neg"]
    shares = {f"{key}_frac": count / entries.count for key, count in counts.items()}
    return {"count": entries.count, **counts, **shares}


@tensor_statistic("norms")
def norms(entries: Entries) -> Columns:
    largest = max(abs(entries.minimum), abs(entries.maximum))
    return {"l1": entries.l1, "l2": entries.l2, "linf": largest}


@tensor_statistic("percentiles")
def percentiles(entries: Entries) -> Columns:
    return {f"p{percent}": entries.percentile(percent) for percent in PERCENTILES}


@update_statistic("basic")
def basic_of_update(measured: Measured) -> Columns:
    """What the factors tell of the entries."""
    return {"mean": measured.mean, "std": measured.entries.standard_deviation}


@update_statistic("norms")
def norms_of_update(measured: Measured) -> Columns:
    return {"l2": measured.l2}


@update_statistic("svd")
def svd(measured: Measured) -> Columns:
    """Singular values; those beyond the rank are zero. A zero update lacks no energy: ratio 1."""
    values, top = measured.values, measured.values[: measured.top]
    whole, kept = float(values.square().sum()), float(top.square().sum())
    columns = {
        "spectral_norm": float(values[0]) if len(values) else 0.0,
        "energy_total": whole,
        "energy_topk": kept,
        "energy_ratio_topk": kept / whole if whole > 0 else 1.0,
        "nuclear_norm": float(values.sum()),
    }
    listed = [float(value) for value in top] + [0.0] * (measured.top - len(top))
    return columns | {f"s{i + 1}": value for i, value in enumerate(listed)}


def effective_rank(values: Tensor) -> float:
    """exp of the entropy of the singular values as shares of their sum (Roy and Vetterli 2007).

    The number of equal singular values that would be as spread out; 0.0 for the zero update.
    """
    shares = values / values.sum()
    return float(torch.exp(-(shares * shares.log()).sum())) if len(values) else 0.0


def stable_rank(values: Tensor) -> float:
    """||dW||_F^2 / ||dW||_2^2, at most the rank; 0.0 for the zero update."""
    return float((values / values[0]).square().sum()) if len(values) else 0.0
