"""The names that users of the original notebooks know, with the same arguments and meaning.

Where the notebook was wrong, and what is done instead:

* alpha was left out, and every file that has one was blended at the wrong strength: it counts;
* only `lora_A` and `lora_B` were read: every spelling and kind is, and one weight in two spellings
  is one layer;
* all other tensors and the metadata vanished: they are carried along;
* spectral norms for `dynamic_weight_fn` came from random vectors, another result in every run: they
  are exact;
* a dense matrix and its decomposition for every layer, all of both files in memory: factors stay
  factors, a layer or two at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from ..algebra.rank_rules import FULL
from ..deferred import torch
from ..errors import SettingError
from ..merging.balance import WeightRule
from ..reading.lora import Source
from ..running.output import Output
from ..running.stream import Compute, choose_device
from ..storage.files import StateDict
from .blend import blend
from .blend_settings import Blend
from .block_weights import BlockRule

BlockRules = Sequence[tuple[str, float, float]]


def blend_and_convert_loras_streaming(
    lora1: Source,
    lora2: Source | None = None,
    w1: float = 1.0,
    w2: float = 1.0,
    target_rank: int | None = 32,
    compute_device: str | torch.device | None = None,
    compute_dtype: torch.dtype | None = None,
    include_bases: Collection[str] | None = None,
    drop_near_zero: bool = True,
    zero_tol: float = 1e-12,
    factor_method: str = "svd",
    block_rules: BlockRules | None = None,
    dynamic_weight_fn: WeightRule | None = None,
    dyn_norm_iters: int = 40,
    output_path: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> StateDict | Path:
    """Blend two LoRAs (or resize one) and return the state dict, or write it to `output_path`.

    `lora1` and `lora2` are paths or state dicts, `w1` and `w2` their weights. `target_rank` None
    keeps everything. `compute_device` is a torch device or its name, None for auto; `compute_dtype`
    float32 or float64. `include_bases` lists the module names to keep, as the files spell them or
    canonical. Modules whose spectral norm is at most `zero_tol` are dropped if `drop_near_zero`.
    `factor_method` is "svd" or "pca_lowrank". `block_rules` are (prefix, multiplier 1, multiplier
    2); the longest prefix that fits wins. `dynamic_weight_fn` gives weights by the spectral norms
    of a module, such as `dyn_weights_proportional`. `dyn_norm_iters` is accepted for compatibility:
    spectral norms are exact here. `progress` is called with (done, total, module). Raises what
    `blend` raises.

    >>> style, character = core.samples()
    >>> lora = core.blend_and_convert_loras_streaming(style, character, 0.8, 0.6, target_rank=8)
    >>> len(lora)
    100
    """
    methods = {"svd": "svd", "pca_lowrank": "pca", "pca": "pca"}
    if factor_method not in methods:
        raise SettingError(
            f"factor_method {factor_method!r} is unknown", fix="choose svd or pca_lowrank"
        )
    settings = Blend(
        weights=(w1, w2) if lora2 is not None else (w1,),
        rank=FULL if target_rank is None else target_rank,
        truncation=methods[factor_method],
        drop_near_zero=drop_near_zero,
        zero_tolerance=zero_tol,
        balance=dynamic_weight_fn,
    )
    device = choose_device(str(compute_device) if compute_device is not None else "auto")
    result = blend(
        lora1,
        lora2,
        settings,
        Output(output_path),
        Compute(device, compute_dtype or torch.float32, progress),
        _longest_prefix(block_rules, 1 if lora2 is None else 2) if block_rules else None,
        None if include_bases is None else _named(include_bases),
    )
    return result.lora


def _named(bases: Collection[str]) -> Callable[[str, Sequence[str]], bool]:
    wanted = set(bases)

    def keep(name: str, raws: Sequence[str]) -> bool:
        return not wanted.isdisjoint((name, *raws))

    return keep


def _longest_prefix(rules: BlockRules, count: int) -> BlockRule:
    def rule(name: str, raws: Sequence[str]) -> Sequence[float]:
        fitting = [
            (len(prefix), (first, second))
            for prefix, first, second in rules
            if any(spelled.startswith(prefix) for spelled in (name, *raws))
        ]
        return (max(fitting)[1] if fitting else (1.0, 1.0))[:count]

    return rule
