"""Tables as the page shows them under a node: JSON, grouped, with heads in words.

{"columns": [[head, technical name], ...], "groups": [{"cells": [...], "block": name or None,
"rows": [[...], ...]}, ...]}: a line for each group, its rows on demand. Cells are text, numbers or
None; names and metadata are text of other people's, which the page shows as it stands.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..core import Comparison, Report, network_order, quoting

if TYPE_CHECKING:
    from pandas import DataFrame

OUTSIDE = "outside any block"
# The share of the energy adds up over layers; of the others a group shows the largest.
ENERGY_SHARE = "dW.energy_share"
ANALYSIS = {
    "module": "layer",
    ENERGY_SHARE: "energy share",
    "dW.svd.spectral_norm": "strongest direction",
    "dW.norms.l2": "size of the change",
    "rank": "rank",
    "effective_rank": "ranks really used",
    "kind": "stored as",
}
REPORT = {
    "module": "what was done",
    "": "modules",
    "rank": "rank",
    "retained_energy": "energy kept, %",
    "relative_error": "relative error",
}


def of_analysis(table: "DataFrame") -> dict[str, Any]:
    """A group for every block, in the network's order, with its layers."""
    present = {name: head for name, head in ANALYSIS.items() if name in table.columns}
    groups = []
    blocks = table.groupby(table["block"].fillna(OUTSIDE), sort=False)
    for block, layers in sorted(blocks, key=lambda pair: network_order(str(pair[0]))):
        rows = [[_cell(value) for value in row] for row in layers[list(present)].values.tolist()]
        cells: list[Any] = [str(block)]
        for index, name in enumerate(list(present)[1:], 1):
            numbers = [row[index] for row in rows if isinstance(row[index], int | float)]
            whole = sum(numbers) if name == ENERGY_SHARE else max(numbers, default=None)
            cells.append(whole if numbers else f"{len(rows)} layers" if name == "kind" else None)
        groups.append({"cells": cells, "block": None if block == OUTSIDE else block, "rows": rows})
    return {"columns": [[head, name] for name, head in present.items()], "groups": groups}


def energy_of(table: "DataFrame") -> dict[str, float]:
    """{block: its share of the energy}, of an analysis."""
    if ENERGY_SHARE not in table.columns:
        return {}
    shares = table.groupby("block")[ENERGY_SHARE].sum()
    order = sorted(shares.index, key=network_order)
    return {block: float(shares[block]) for block in order}


def of_report(report: Report, made_of: Callable[[Any], str]) -> dict[str, Any]:
    """A group for everything that was done alike; `made_of` says of a module what it is made of."""
    groups: dict[str, list[list[Any]]] = {}
    for row in report.modules:
        what = ", ".join(filter(None, (f"{row.action}: {made_of(row)}".rstrip(": "), row.note)))
        measured = row.measured and row.action != "dropped"
        kept = row.retained_energy * 100 if measured else None
        error = row.relative_error if measured else None
        cells = [row.module, None, row.rank, _cell(kept), _cell(error)]
        groups.setdefault(quoting.terminal(what), []).append(cells)
    return {
        "columns": [[head, name] for name, head in REPORT.items()],
        "groups": [
            {"cells": [what, len(rows), _most(rows, 2), _least(rows, 3), _most(rows, 4)],
             "block": None, "rows": rows}
            for what, rows in groups.items()
        ],
    }  # fmt: skip


def weighed(
    names: Sequence[str], weights: Sequence[float], factors: dict[str, list[float]]
) -> Callable[[Any], str]:
    """What a module of a sum is made of: `0.8 x style + 0.5 x character`.

    `factors` are those of `core.layer_weights`.
    """

    def made_of(row: Any) -> str:
        own = factors.get(row.module, [1.0] * len(weights))
        parts = ((weights[i] * own[i], names[i]) for i in row.inputs)
        return " + ".join(f"{weight:.4g} x {name}" for weight, name in parts if weight)

    return made_of


def of_comparison(found: Comparison, columns: dict[str, str]) -> dict[str, Any]:
    """A line for every block."""
    rows = found.blocks.to_dict("records")
    return {
        "columns": [["block", "block"], *([head, name] for name, head in columns.items())],
        "groups": [
            {
                "cells": [str(_block(row) or OUTSIDE), *(_cell(row[name]) for name in columns)],
                "block": _block(row),
            }
            for row in rows
        ],
    }


def _block(row: dict[Any, Any]) -> str | None:
    return row["block"] if isinstance(row["block"], str) else None  # pandas has NaN for none


def _cell(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if value is None or (isinstance(value, float) and not abs(value) < float("inf")):
        return None
    return value if isinstance(value, int | float) else str(value)


def _numbers(rows: Iterable[list[Any]], column: int) -> list[float]:
    return [row[column] for row in rows if row[column] is not None]


def _most(rows: Iterable[list[Any]], column: int) -> float | None:
    return max(_numbers(rows, column), default=None)


def _least(rows: Iterable[list[Any]], column: int) -> float | None:
    return min(_numbers(rows, column), default=None)
