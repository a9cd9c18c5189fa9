"""The ways of other tools, in a few lines each, beside the same work done here.

Each is written down from its idea; the tools that have it do more. All work from file to file, on
one thread, in turn, and the figure is the median of the ratios of their processor time: below 1,
this library needs less. The errors are those of sampled modules, against float64 (`checks.py`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import core

from .checks import bare, true_errors
from .rows import WEIGHTS, Row, Workshop

NAMES = {".lora_down.weight": ".lora_up.weight", ".lora_A.weight": ".lora_B.weight"}
Factors = dict[str, tuple[Tensor, Tensor]]


def read(path: Path, weight: float = 1.0) -> Factors:
    """Module -> (up, down) in float32, weight and alpha / rank in up. The whole file at once."""
    tensors, found = load_file(path), {}
    for key, down in tensors.items():
        for ending, other in NAMES.items():
            if key.endswith(ending):
                raw = key.removesuffix(ending)
                alpha = float(tensors.get(f"{raw}.alpha", torch.tensor(float(len(down)))))
                up = tensors[raw + other].float().flatten(1) * (weight * alpha / len(down))
                found[bare(raw)] = up, down.float().flatten(1)
    return found


def stacked(inputs: Sequence[Path], weights: Sequence[float]) -> Factors:
    """The factors of all files side by side, for every module."""
    files = [read(path, weight) for path, weight in zip(inputs, weights, strict=True)]
    return {
        name: (
            torch.cat([file[name][0] for file in files], 1),
            torch.cat([file[name][1] for file in files]),
        )
        for name in files[0]
    }


def write(factors: Factors, path: Path) -> None:
    tensors = {}
    for name, (up, down) in factors.items():
        tensors[f"{name}.lora_B.weight"] = up.bfloat16()
        tensors[f"{name}.lora_A.weight"] = down.bfloat16()
    save_file(tensors, path)


def decomposed(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The SVD of up @ down by a QR of each factor."""
    q_up, r_up = torch.linalg.qr(up)
    q_down, r_down = torch.linalg.qr(down.T)
    u, s, vh = torch.linalg.svd(r_up @ r_down.T)
    return q_up @ u, s, vh @ q_down.T


def cut(svd: tuple[Tensor, Tensor, Tensor], rank: int) -> tuple[Tensor, Tensor]:
    u, s, vh = (svd[0][:, :rank], svd[1][:rank], svd[2][:rank])
    return u * s.sqrt(), s.sqrt()[:, None] * vh


def concatenation(inputs: Sequence[Path], output: Path) -> None:
    write(stacked(inputs, WEIGHTS), output)


def qr_of_both(inputs: Sequence[Path], output: Path, rank: int) -> None:
    factors = stacked(inputs, WEIGHTS)
    write({name: cut(decomposed(*pair), rank) for name, pair in factors.items()}, output)


def one_threshold(source: Path, output: Path, size: float) -> None:
    """Every module keeps its singular values above one share of its largest, found by bisection."""
    found = {name: decomposed(*pair) for name, pair in read(source).items()}

    def ranks(share: float) -> dict[str, int]:
        return {name: max(1, int((s >= share * s[0]).sum())) for name, (_, s, _) in found.items()}

    def total(share: float) -> int:
        return sum(
            2 * rank * (len(found[name][0]) + found[name][2].shape[1])
            for name, rank in ranks(share).items()
        )

    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) > size else (low, middle)
    write({name: cut(found[name], rank) for name, rank in ranks(high).items()}, output)


def gram_energies(source: Path) -> dict[str, float]:
    return {
        name: float(((up.T @ up) * (down @ down.T)).sum())
        for name, (up, down) in read(source).items()
    }


def peers(shop: Workshop) -> Iterator[Row]:
    """Each job here and by another way."""
    flux = [shop.file("flux", 32, "kohya"), shop.file("flux", 32, "generic", 1)]
    sdxl = shop.file("sdxl", 32, "kohya")
    size = 0.3 * sdxl.stat().st_size
    one = core.Compute(shop.compute.device, workers=1)
    theirs = shop.folder / "theirs.safetensors"

    def blending(rank: int | str) -> Callable[[], object]:
        settings = core.Blend(weights=WEIGHTS, rank=rank)
        output = core.Output(shop.output, replace=True)
        return lambda: core.blend(*flux, settings, output, one)

    def resizing() -> object:
        rule = core.RankRule("megabytes", size / 1e6)
        return core.resize(sdxl, rule, output=core.Output(shop.output, replace=True), compute=one)

    def energies() -> object:
        return core.analyze_lora(flux[0], statistics="energy", compute=one)

    jobs: list[tuple[str, float | None, Callable[[], object], Callable[[], object], object]] = [
        ("sum of two Flux files, concatenated", 1.0, blending("full"),
         lambda: concatenation(flux, theirs), (flux, WEIGHTS)),
        ("two Flux files to rank 32, QR of both factors", None, blending(32),
         lambda: qr_of_both(flux, theirs, 32), (flux, WEIGHTS)),
        ("SDXL to 30 % of its size, QR and one threshold", 0.8, resizing,
         lambda: one_threshold(sdxl, theirs, size), ([sdxl], [1.0])),
        ("energy of every Flux layer, Gram products", 1.0, energies,
         lambda: gram_energies(flux[0]), None),
    ]  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, limit, ours, other, checked in jobs:
            yield compared(shop, name, limit, ours, other, checked, theirs)
    finally:
        torch.set_num_threads(threads)


def compared(
    shop: Workshop,
    name: str,
    limit: float | None,
    ours: Callable[[], object],
    other: Callable[[], object],
    checked: object,
    theirs: Path,
) -> Row:
    """One job, both ways in turn."""
    pairs = []
    for _ in range(shop.repeats + 1):
        pairs.append([seconds(work) for work in (ours, other)])
    ratio = statistics.median(mine / their for mine, their in pairs[1:])
    mine, their = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
    details = {"seconds": mine, "theirs": their}
    if isinstance(checked, tuple):
        for key, path in (("error", shop.output), ("their error", theirs)):
            details[key] = max(error for _, error, *_ in true_errors(path, *checked))
            details[key.replace("error", "MB")] = path.stat().st_size / 1e6
    return Row(f"processor time: {name}", ratio, "x theirs", limit, details)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
