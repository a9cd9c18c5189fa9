"""Is every column of an analysis right? Full-size files against dense matrices in float64.

Independent of the library's algebra: factors are read with safetensors, dW is multiplied out as
one dense matrix in float64, numpy measures it, and singular values are those of that matrix.

    python -m benchmarks.generate sdxl --modules all --text-encoders -o sdxl.safetensors
    python -m benchmarks.columns sdxl.safetensors

prints the largest difference of every group of columns over one layer of each shape, after every
number of every layer was seen to be finite. Status 1 where a column is off or not finite.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from core import analyze_lora

PERCENTS = (1, 5, 25, 50, 75, 95, 99)
# What float32 rounding of dW may move: numbers, and counts (entries on the other side of zero).
TOLERANCE, COUNT_TOLERANCE = 1e-5, 1e-4


def entries(tensor: np.ndarray) -> dict[str, float]:
    """The notebook's figures of the entries of a float64 array."""
    flat = tensor.reshape(-1)
    ordered = np.sort(flat)
    counts = {"pos": (flat > 0).sum(), "neg": (flat < 0).sum(), "zero": (flat == 0).sum()}
    row = {
        "basic.min": ordered[0],
        "basic.max": ordered[-1],
        "basic.mean": flat.mean(),
        "basic.std": flat.std(),
        "basic.median": ordered[(len(flat) - 1) // 2],
        "sign.count": len(flat),
        **{f"sign.{key}": count for key, count in counts.items()},
        **{f"sign.{key}_frac": count / len(flat) for key, count in counts.items()},
        "norms.l1": np.abs(flat).sum(),
        "norms.l2": math.sqrt(float(flat @ flat)),
        "norms.linf": np.abs(flat).max(),
    }
    values = np.percentile(ordered, PERCENTS, overwrite_input=True)
    row |= {f"percentiles.p{p}": value for p, value in zip(PERCENTS, values, strict=True)}
    return {key: float(value) for key, value in row.items()}


def spectrum(matrix: np.ndarray, top: int = 8) -> dict[str, float]:
    """The figures of the singular values of a float64 matrix [out, in].

    Of large ones from its Gram matrix, without what is then rounding: a millionth of the largest.
    """
    if min(matrix.shape) <= 1280:
        sigma = np.linalg.svd(matrix, compute_uv=False)
    else:
        gram = matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix
        sigma = np.sqrt(np.linalg.eigvalsh(gram)[::-1].clip(0))
        sigma = np.where(sigma > 1e-6 * sigma[0], sigma, 0)
    energy = sigma**2
    shares = sigma[sigma > 1e-9 * sigma[0]] / sigma.sum()
    listed = [*sigma[:top], *([0.0] * (top - len(sigma)))]
    row = {
        "dW.svd.spectral_norm": sigma[0],
        "dW.svd.energy_total": energy.sum(),
        "dW.svd.energy_topk": energy[:top].sum(),
        "dW.svd.energy_ratio_topk": energy[:top].sum() / energy.sum() if sigma[0] else 1.0,
        "dW.svd.nuclear_norm": sigma.sum(),
        "effective_rank": np.exp(-(shares * np.log(shares)).sum()) if sigma[0] else 0.0,
        "stable_rank": energy.sum() / energy[0] if sigma[0] else 0.0,
    }
    row |= {f"dW.svd.s{i + 1}": value for i, value in enumerate(listed)}
    return {key: float(value) for key, value in row.items()}


def expected(path: str | Path, layer: str) -> dict[str, Any]:
    """Every column of a layer that can be told from the layer alone."""
    with safe_open(path, framework="pt") as file:
        names = {key: key[len(layer) :] for key in file.keys() if key.startswith(f"{layer}.")}  # noqa: SIM118
        stored = {suffix: file.get_tensor(key) for key, suffix in names.items()}
    down, up = (
        next(value for suffix, value in stored.items() if suffix in roles)
        for roles in (
            (".lora_down.weight", ".lora_A.weight"),
            (".lora_up.weight", ".lora_B.weight"),
        )
    )
    rank = len(down)
    alpha = float(stored[".alpha"]) if ".alpha" in stored else math.nan
    scale = 1.0 if math.isnan(alpha) else alpha / rank
    a, b = down.double().numpy(), up.double().numpy()
    update = scale * (b.reshape(len(b), -1) @ a.reshape(rank, -1))
    return {
        "layer": layer,
        "A.shape": a.shape,
        "B.shape": b.shape,
        "deltaW.shape": (len(b), *a.shape[1:]),
        **{"rank": rank, "rank_match": rank == b.shape[1], "alpha": alpha, "scale": scale},
        **{"in_dim": a.shape[1], "out_dim": len(b), "delta_error": None, "not_measured": ""},
        **{"kind": "LoRA"},
        **{f"A.{key}": value for key, value in entries(a).items()},
        **{f"B.{key}": value for key, value in entries(b).items()},
        **{f"dW.{key}": value for key, value in entries(update).items()},
        **spectrum(update),
    }


def difference(column: str, found: Any, wanted: dict[str, Any]) -> float:
    """How far a column is off, of what its rounding is measured by: 0 for equal things that are
    no numbers, Inf for unequal ones."""
    value = wanted[column]
    if not isinstance(value, float):
        return 0.0 if found == value else math.inf
    if math.isnan(value) or value == found:
        return 0.0 if value == found or math.isnan(found) else math.inf
    tensor, _, name = column.partition(".")
    if name.startswith("sign."):
        return abs(found - value) / (1 if "frac" in name else wanted[f"{tensor}.sign.count"])
    if name.startswith(("basic.", "percentiles.")):
        return abs(found - value) / wanted[f"{tensor}.norms.linf"]
    if name.startswith("svd.s"):
        return abs(found - value) / wanted["dW.svd.spectral_norm"]
    return abs(found - value) / abs(value)


def compare(
    path: str | Path, rows: list[dict[str, Any]], layers: set[str]
) -> tuple[dict[str, tuple[float, str]], list[str]]:
    """Column -> (largest difference, its layer) over `layers`, and what is wrong in any of `rows`.

    rows: an analysis with all statistics and eight singular values.
    """
    wrong = [
        f"{row['layer']}: {column} is {value}"
        for row in rows
        for column, value in row.items()
        if column.endswith(".error")
        or (isinstance(value, float) and column != "alpha" and not math.isfinite(value))
    ]
    worst: dict[str, tuple[float, str]] = defaultdict(lambda: (0.0, ""))
    norms, sizes = (
        np.array([row[column] for row in rows])
        for column in ("dW.svd.spectral_norm", "dW.norms.l2")
    )
    softmax, energy = np.exp(norms - norms.max()), sizes**2
    for row, share, part in zip(rows, softmax / softmax.sum(), energy / energy.sum(), strict=True):
        wanted = {"dW.softmax_norm": float(share), "dW.energy_share": float(part)}
        if row["layer"] in layers:
            wanted |= expected(path, row["layer"])
        for column in wanted:
            off = difference(column, row.get(column, math.nan), wanted)
            worst[column] = max(worst[column], (off, row["layer"]))
    for column, (off, layer) in worst.items():
        if not off <= (COUNT_TOLERANCE if ".sign." in column else TOLERANCE):
            wrong.append(f"{layer}: {column} is off by {off:.3g}")
    return worst, wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.columns", description=__doc__)
    parser.add_argument("file", nargs="+")
    parser.add_argument("--layers", default="", help="only these, such as 'double_blocks.0'")
    parser.add_argument("--every", action="store_true", help="every layer, not one of each shape")
    options = parser.parse_args()
    status = 0
    for path in options.file:
        rows = analyze_lora(path, layers=options.layers, return_df=False)
        shapes = {row["deltaW.shape"]: row["layer"] for row in rows}
        layers = {row["layer"] for row in rows} if options.every else set(shapes.values())
        worst, wrong = compare(path, rows, layers)
        print(f"{path}: {len(rows)} layers, {len(layers)} against the oracle; largest differences")
        for column, (off, layer) in sorted(worst.items(), key=lambda item: -item[1][0])[:8]:
            print(f"    {column:<26} {off:.1e}  {layer}")
        print("\n".join(wrong) or "    all finite, all equal")
        status = status or bool(wrong)
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main())
