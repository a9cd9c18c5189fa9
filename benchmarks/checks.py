"""Is what is measured right? The files that the benchmark writes, against a float64 oracle.

Independent of the library's algebra: factors are read with safetensors, dW is formed densely in
float64 in row tiles, and the best possible error of a rank comes from a QR in float64.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

_FACTOR = re.compile(r"(.+)\.(?:lora_up|lora_B)\.weight")


def true_errors(
    written: Path, inputs: Sequence[Path], weights: Sequence[float], modules: int = 3
) -> list[tuple[str, float, float, float]]:
    """(module, relative error, least possible error of that rank, rounding) of sampled modules.

    The inputs' modules are matched by their flattened names, so all files must fuse alike. Rounding
    is what storing the factors in the written dtype costs, an upper bound.
    """
    with safe_open(written, framework="pt") as file:
        names = sorted(m[1] for key in file.keys() if (m := _FACTOR.fullmatch(key)))  # noqa: SIM118
    result = []
    for name in names[:: max(1, len(names) // modules)][:modules]:
        up, down, dtype = _factors(written, name)
        pairs = [_factors(path, name) for path in inputs]
        stacked = torch.cat([w * pair[0] for w, pair in zip(weights, pairs, strict=True)], 1)
        below = torch.cat([pair[1] for pair in pairs], 0)
        norm, error = 0.0, 0.0
        for start in range(0, len(up), 1024):
            exact = stacked[start : start + 1024] @ below
            norm += float(exact.square().sum())
            error += float((exact - up[start : start + 1024] @ down).square().sum())
        r_up, r_down = (torch.linalg.qr(f, mode="r").R for f in (stacked, below.T))
        values = torch.linalg.svdvals(r_up @ r_down.T)
        least = float(values[up.shape[1] :].square().sum())
        rounding = 2 * torch.finfo(dtype).eps
        result.append((name, math.sqrt(error / norm), math.sqrt(least / norm), rounding))
    return result


def require_optimal(
    written: Path, inputs: Sequence[Path], weights: Sequence[float], modules: int = 3
) -> None:
    """Raises AssertionError unless sampled modules reach the least error of their rank.

    Within 1e-4 of it, beyond what rounding to the written dtype adds (which is independent of the
    truncation, so the squares add).
    """
    for name, error, least, rounding in true_errors(written, inputs, weights, modules):
        allowed = math.hypot(least * (1 + 1e-4), rounding)
        assert error <= allowed, f"{name}: error {error:.3g} where {least:.3g} is possible"


def _factors(path: Path, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.dtype]:
    """up, down in float64 with the scale in up, and the stored dtype."""
    wanted = bare(name)
    with safe_open(path, framework="pt") as file:
        keys = set(file.keys())
        for key in keys:
            match = _FACTOR.fullmatch(key)
            if match and bare(match[1]) == wanted:
                stored = file.get_tensor(key)
                other = key.replace("lora_up", "lora_down").replace("lora_B", "lora_A")
                up, down = stored.double().flatten(1), file.get_tensor(other).double().flatten(1)
                if f"{match[1]}.alpha" in keys:
                    up = up * (float(file.get_tensor(f"{match[1]}.alpha")) / len(down))
                return up, down, stored.dtype
    raise AssertionError(f"{path.name} has no module {name}")


def bare(name: str) -> str:
    return re.sub(r"^(lora_unet_|diffusion_model\.)", "", name).replace(".", "_")
