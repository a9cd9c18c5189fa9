"""Analysis: one row per module, every column of the notebook's table and what it lacked."""

from __future__ import annotations

import builtins
from dataclasses import replace
from math import nan
from typing import TYPE_CHECKING, Any, Literal, overload

from ..algebra.low_rank import LowRank
from ..deferred import torch
from ..errors import LoraError, SettingError, one_of
from ..naming.blocks import locate
from ..naming.layers import Layers
from ..quoting import csv as csv_cell
from ..reading.lora import Lora, Source
from ..reading.module import Module
from ..running.stream import Compute, choose_device, stream
from .base_statistics import BASE_COLUMNS, RELATIVE_NORM, beside_base, norm_beside_base
from .elements import PERCENTILES, Entries
from .statistics import (
    TENSOR_STATISTICS,
    UPDATE_STATISTICS,
    Measured,
    columns_of,
    effective_rank,
    stable_rank,
)

if TYPE_CHECKING:
    import pandas as pd

# Each with more than the one before: the norm of each update, from Gram matrices alone; its
# singular values; the entries of the stored factors; those of the update.
ENERGY, NORMS, SPECTRAL, FULL = LEVELS = ("energy", "norms", "spectral", "full")
STATISTICS = (ENERGY, SPECTRAL, FULL)
TENSORS = ("A", "B", "dW")
# Of a weight that has more, only what its factors tell is measured. Real ones have 2^31 at most.
MOST_ENTRIES, MOST_ZEROS = 1 << 31, 1 << 24
EXTRA_COLUMNS = (
    "alpha",
    "scale",
    "block",
    "component",
    "module",
    "effective_rank",
    "stable_rank",
    "dW.softmax_norm",
    "dW.energy_share",
    "kind",
    "not_measured",
)
OF_SPECTRA = ("effective_rank", "stable_rank", "dW.softmax_norm")


def notebook_columns(top: int = 8) -> list[str]:
    """The columns of the notebook in its order: 88 with eight singular values."""
    signs = ("pos", "neg", "zero")
    groups = {
        "basic": ("min", "max", "mean", "std", "median"),
        "sign": ("count", *signs, *(f"{sign}_frac" for sign in signs)),
        "norms": ("l1", "l2", "linf"),
        "percentiles": tuple(f"p{percent}" for percent in PERCENTILES),
    }
    svd = ("spectral_norm", "energy_total", "energy_topk", "energy_ratio_topk", "nuclear_norm")
    return [
        *("layer", "A.shape", "B.shape", "deltaW.shape", "rank", "rank_match"),
        *("in_dim", "out_dim", "delta_error"),
        *(
            f"{tensor}.{name}.{key}"
            for tensor in TENSORS
            for name in groups
            for key in groups[name]
        ),
        *(f"dW.svd.{key}" for key in svd),
        *(f"dW.svd.s{i + 1}" for i in range(top)),
    ]


def _of_level(column: str, statistics: str) -> bool:
    """Whether a column of the notebook is measured at this level."""
    tensor, _, name = column.partition(".")
    if statistics == ENERGY:
        return tensor not in TENSORS or name == "shape" or column == "dW.norms.l2"
    if tensor == "dW" and not name.startswith("svd."):
        return statistics == FULL or name in ("basic.mean", "basic.std", "norms.l2")
    return statistics != NORMS or tensor not in ("A", "B") or name == "shape"


def csv_text(table: pd.DataFrame) -> str:
    """A `table` as csv, in which no cell is a formula: a name that looks like one gets a `'`.

    >>> import pandas
    >>> core.csv_text(pandas.DataFrame({"layer": ["=1+1"], "rank": [8]}))
    "layer,rank\\n'=1+1,8\\n"
    """
    texts = table.select_dtypes(exclude="number").columns
    quoted = {
        column: [csv_cell(one) if isinstance(one, str) else one for one in table[column]]
        for column in texts
    }
    return table.assign(**quoted).to_csv(index=False, lineterminator="\n")


# Columns of singular values: more than the ranks of LoRAs.
MOST_VALUES = 10_000


@overload
def analyze_lora(
    state_dict: Source,
    device: torch.device | str | None = ...,
    dtype: torch.dtype | None = ...,
    svd_topk: int = ...,
    svd_exact_max_elems: int | None = ...,
    return_df: Literal[True] = ...,
    statistics: str = ...,
    layers: str = ...,
    compute: Compute | None = ...,
    intruders: bool = ...,
) -> pd.DataFrame: ...


@overload
def analyze_lora(
    state_dict: Source,
    device: torch.device | str | None = ...,
    dtype: torch.dtype | None = ...,
    svd_topk: int = ...,
    svd_exact_max_elems: int | None = ...,
    return_df: bool = ...,
    statistics: str = ...,
    layers: str = ...,
    compute: Compute | None = ...,
    intruders: bool = ...,
) -> pd.DataFrame | list[dict[str, Any]]: ...


def analyze_lora(
    state_dict: Source,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    svd_topk: int = 8,
    svd_exact_max_elems: int | None = None,
    return_df: bool = True,
    statistics: str = "full",
    layers: str = "",
    compute: Compute | None = None,
    intruders: bool = False,
) -> pd.DataFrame | list[dict[str, Any]]:
    """The table of a file or state dict: one row per module, in the file's order.

    A is the stored down factor, B the stored up factor, dW the update as ComfyUI applies it at
    strength 1. `state_dict` is a path, a state dict or a Lora. `statistics` "spectral" leaves out
    the columns that need the entries of dW, "energy" the singular values, too. `layers` selects
    modules. `svd_topk` singular values get a column. `svd_exact_max_elems` is accepted for
    compatibility: spectra are exact at any size. `compute` overrides `device` (None: auto) and
    `dtype` (None: float32). With `return_df` False the rows come as dicts.

    A LoRA that was opened with its base model has columns of what it is beside that; `intruders`
    counts the directions that are like none of the base's there, which takes a while.

    Where something does not exist or cannot be measured its columns are NaN, and `not_measured`
    and `delta_error` say why; where all is well the first is an empty text and the second None.

    Where the notebook was wrong: it left alpha out, so that dW had another scale than what ComfyUI
    applies; read `lora_A` and `lora_B` only; had NaN for the spectra of matrices above
    `svd_exact_max_elems`; and estimated others from random vectors, another result in every run.
    Here alpha counts, every kind is read, and all spectra are exact. Raises SettingError for an
    unknown level or a selector that matches nothing, FileError for what cannot be read.

    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral")
    >>> len(table), round(float(table["dW.svd.spectral_norm"].max()), 2)
    (28, ...)
    """
    if statistics not in LEVELS:
        one_of("statistics", statistics, STATISTICS)
    if not 1 <= svd_topk <= MOST_VALUES:
        raise SettingError(
            f"svd_topk {svd_topk} must be from 1 to {MOST_VALUES}", fix="8 is the default"
        )
    if compute is None:
        chosen = choose_device("auto" if device is None else str(device))
        compute = Compute(chosen, dtype or torch.float32)
    if compute.device.type == "mps":
        # Apple's GPUs have no float64, in which spectra and sums are computed.
        compute = replace(compute, device=torch.device("cpu"))
    lora = Lora.of(state_dict)
    known = Layers({n: [m.raw] for n, m in lora.modules.items()}, lora.family, lora.name)
    names = known.selected(layers)
    if not names:
        problem = f"selector {layers!r} selects no layer"
        raise SettingError(problem, fix="widen it", file=lora.name)
    modules = [module for name, module in lora.modules.items() if name in names]

    def one(module: Module, compute: Compute) -> dict[str, Any]:
        return _row(module, statistics, svd_topk, compute, intruders)

    rows = list(stream(modules, lambda m: m.canonical, one, compute, lambda m: m.tensors.name))
    _add_shares(rows)
    if not return_df:
        return rows
    import pandas as pd

    columns = [c for c in notebook_columns(svd_topk) if _of_level(c, statistics)]
    columns += [c for c in EXTRA_COLUMNS if statistics != ENERGY or c not in OF_SPECTRA]
    if lora.base:
        columns += [RELATIVE_NORM] if statistics == ENERGY else BASE_COLUMNS
    added = {column for row in rows for column in row} - set(columns)
    table = pd.DataFrame(rows, columns=[*columns, *sorted(added)])
    table.attrs = {"lora": lora.name, "family": str(lora.recognition), "statistics": statistics}
    table.attrs["notes"] = known.notes
    return table


def analyze_and_display(
    lora: Source,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    sort_by: str = "dW.svd.spectral_norm",
    ascending: bool = False,
) -> pd.DataFrame:
    """The full table, sorted; shown in a notebook, printed elsewhere.

    `lora`, `device` and `dtype` are those of `analyze_lora`, `sort_by` and `ascending` those of
    `sort_table`. Raises what they raise.

    >>> table = core.analyze_and_display(core.samples()[1], "cpu", sort_by="rank")
    layer ...
    [28 rows x ... columns]
    """
    table = sort_table(analyze_lora(lora, device, dtype), sort_by, ascending)
    # IPython makes its display function a builtin.
    show = getattr(builtins, "display", print)
    show(table)
    return table


def sort_table(table: pd.DataFrame, sort_by: str, ascending: bool = False) -> pd.DataFrame:
    """The rows of a `table` by a column, the largest first (or `ascending`), NaN last.

    `sort_by` is the column. Raises SettingError where the table has no such column.

    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral")
    >>> core.sort_table(table, "dW.svd.spectral_norm")["module"].iloc[0]
    'double_blocks.0.img_mod.lin'
    """
    if sort_by not in table.columns:
        alike = [column for column in table.columns if sort_by.split(".")[-1] in column]
        hint = f"such as {', '.join(alike[:4])}" if alike else f"such as {table.columns[0]}"
        raise SettingError(
            f"sort by {sort_by!r}: no such column among the {len(table.columns)} measured",
            fix=f"choose one {hint}; those of the entries of dW need statistics=full",
        )
    return table.sort_values(sort_by, ascending=ascending, kind="stable", na_position="last")


def _row(
    module: Module, statistics: str, top: int, compute: Compute, intruders: bool
) -> dict[str, Any]:
    """All columns of one module that do not need the others."""
    place = locate(module.canonical)
    row: dict[str, Any] = {
        "layer": module.raw,
        **_scaling(module),
        "block": place.block,
        "component": place.component,
        "module": module.canonical,
        "kind": module.adapter.kind.name,
        "not_measured": "",
    } | _stored(module, statistics, compute)
    try:
        update = module.update(compute.device, compute.dtype)
    except LoraError as error:
        row["delta_error"] = row["not_measured"] = str(error)
        return row
    row["deltaW.shape"] = update.shape
    row["out_dim"], row["in_dim"] = (*update.shape, 1, 1)[:2]
    if statistics == ENERGY:
        norm = update.frobenius_norm()
        row["dW.norms.l2"] = norm
        if module.base and module.name in module.base:
            row[RELATIVE_NORM] = norm_beside_base(module, module.base, norm, compute)
        return row
    measured = Measured(update, top)
    row |= columns_of(UPDATE_STATISTICS, measured, "dW")
    if module.base and module.name in module.base:
        norms = measured.l2, float(measured.values[0]) if len(measured.values) else 0.0
        row |= beside_base(module, update, norms, intruders, compute)
    if "dW.svd.spectral_norm" in row:
        row["effective_rank"] = effective_rank(measured.values)
        row["stable_rank"] = stable_rank(measured.values)
    if statistics == FULL:
        most = MOST_ZEROS if isinstance(update, LowRank) and not update.rank else MOST_ENTRIES
        if measured.count > most:
            row["not_measured"] = f"the {measured.count} entries of dW: too many to visit each"
        elif measured.count:
            row |= columns_of(TENSOR_STATISTICS, measured.entries, "dW")
    return row


def _stored(module: Module, statistics: str, compute: Compute) -> dict[str, Any]:
    """The columns of the stored factors A and B: shapes, rank, and their own statistics."""
    row: dict[str, Any] = {"rank": module.rank or nan, "rank_match": None, "delta_error": None}
    row |= dict.fromkeys(("A.shape", "B.shape", "deltaW.shape"))
    row |= {"in_dim": nan, "out_dim": nan}
    keys = module.adapter.keys
    if not {"down", "up"} <= set(keys):
        return row
    info = module.tensors.info
    down, up = info[keys["down"]].shape, info[keys["up"]].shape
    row |= {"A.shape": down, "B.shape": up}
    row["rank_match"] = len(down) > 1 and len(up) > 1 and down[0] == up[1]
    row["in_dim"], row["out_dim"] = (*down, nan, nan)[1], (*up, nan)[0]
    if statistics in (SPECTRAL, FULL):
        for tensor, role in (("A", "down"), ("B", "up")):
            stored = module.tensors[keys[role]].to(compute.device)
            row |= columns_of(TENSOR_STATISTICS, Entries.of_tensor(stored), tensor)
    return row


def _scaling(module: Module) -> dict[str, float]:
    """alpha, and what up @ down is multiplied by: NaN for kinds that scale in their own ways."""
    try:
        alpha = module.alpha
    except LoraError:
        return {"alpha": nan, "scale": nan}  # The update cannot be told either, and says why.
    own = module.adapter.scale(module.tensors.info, alpha)
    return {"alpha": nan if alpha is None else alpha, "scale": module.scale * own}


def _add_shares(rows: list[dict[str, Any]]) -> None:
    """The columns that compare a module with all others."""
    norms = [(row, row["dW.norms.l2"]) for row in rows if "dW.norms.l2" in row]
    whole = sum(norm**2 for _, norm in norms)
    for row, norm in norms:
        row["dW.energy_share"] = norm**2 / whole if whole > 0 else 0.0
    measured = [row for row in rows if "dW.svd.spectral_norm" in row]
    largest = torch.tensor([row["dW.svd.spectral_norm"] for row in measured], dtype=torch.float64)
    for row, share in zip(measured, largest.softmax(0).tolist(), strict=True):
        row["dW.softmax_norm"] = share
