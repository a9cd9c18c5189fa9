"""Extracting a LoRA from two models, beside what reading them takes and beside the usual ways.

The pair has three layers of the full size of Flux, made on the fly: weights as a training leaves
them, and a change that falls off over all directions, as a fine-tune makes it. The other ways are
written down from their ideas: a dense decomposition, or torch.svd_lowrank with seven iterations;
both then clamp the factors at the 99 % quantile of their entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import core

from .measure import anonymous_memory_peak
from .peers import seconds
from .rows import Row, Workshop

SHAPES = {
    "double_blocks.0.img_attn.proj": (3072, 3072),
    "double_blocks.0.img_attn.qkv": (9216, 3072),
    "double_blocks.0.img_mlp.0": (12288, 3072),
}
RANK, QUANTILE = 32, 0.99
Way = Callable[[Tensor], tuple[Tensor, Tensor]]


def pair(folder: Path, divisor: int = 1) -> tuple[Path, Path]:
    """The files of a base model and of its fine-tune, in bf16."""
    paths = folder / f"base-{divisor}.safetensors", folder / f"tuned-{divisor}.safetensors"
    if all(path.exists() for path in paths):
        return paths
    base, tuned = {}, {}
    for number, (name, shape) in enumerate(SHAPES.items()):
        out, inner = (size // divisor for size in shape)
        generator = torch.Generator().manual_seed(number)
        weight = 0.02 * torch.randn(out, inner, generator=generator)
        fall = torch.arange(1, 257) ** -0.6
        change = torch.randn(out, 256, generator=generator) * fall
        change = change @ torch.randn(256, inner, generator=generator)
        change += 0.2 * torch.randn(out, inner, generator=generator)
        base[f"{name}.weight"] = weight.bfloat16()
        tuned[f"{name}.weight"] = (weight + 0.002 * change).bfloat16()
    save_file(base, paths[0])
    save_file(tuned, paths[1])
    return paths


def clamped(u: Tensor, s: Tensor, vh: Tensor) -> tuple[Tensor, Tensor]:
    """The factors without what lies beyond a quantile of a sample of their entries."""
    up, down = u * s, vh
    entries = torch.cat([up.flatten(), down.flatten()])
    # torch.quantile takes no more than 16 million numbers.
    high = torch.quantile(entries[:: 1 + len(entries) // 10_000_000], QUANTILE)
    return up.clamp(-high, high), down.clamp(-high, high)


def by_dense_svd(difference: Tensor) -> tuple[Tensor, Tensor]:
    u, s, vh = torch.linalg.svd(difference, full_matrices=False)
    return clamped(u[:, :RANK], s[:RANK], vh[:RANK])


def by_svd_lowrank(difference: Tensor) -> tuple[Tensor, Tensor]:
    u, s, v = torch.svd_lowrank(difference, q=2 * RANK, niter=7)
    return clamped(u[:, :RANK], s[:RANK], v[:, :RANK].T)


def extracted_by(way: Way, base: Path, tuned: Path, output: Path) -> None:
    """Both models whole in memory, the difference of every weight in float32, factors in bf16."""
    before, after, found = load_file(base), load_file(tuned), {}
    for key, weight in after.items():
        up, down = way(weight.float() - before[key].float())
        raw = "diffusion_model." + key.removesuffix(".weight")
        found[f"{raw}.lora_B.weight"] = up.bfloat16().contiguous()
        found[f"{raw}.lora_A.weight"] = down.bfloat16().contiguous()
    save_file(found, output)


def errors(written: Path, base: Path, tuned: Path) -> float:
    """|written - change| / |change|, all layers as one vector, in float64."""
    lost = whole = 0.0
    for module in core.Lora(written).modules.values():
        key = f"{module.canonical}.weight"
        with safe_open(base, "pt") as before, safe_open(tuned, "pt") as after:
            change = after.get_tensor(key).double() - before.get_tensor(key).double()
        update = module.update(torch.device("cpu"), torch.float64)
        ours = update.values if isinstance(update, core.Dense) else update.dense()
        lost += float((ours - change).square().sum())
        whole += float(change.square().sum())
    return (lost / whole) ** 0.5


def reading(base: Path, tuned: Path) -> None:
    """What no way gets under: read both models, and subtract them."""
    before, after = load_file(base), load_file(tuned)
    for key, weight in after.items():
        torch.sub(weight.float(), before[key].float()).sum()


def extraction(shop: Workshop) -> Iterator[Row]:
    """Rank 32 of three layers of full size, on one thread, in turn."""
    base, tuned = pair(shop.folder, 1 if shop.modules is None else 24)
    theirs = shop.folder / "theirs.safetensors"
    one = core.Compute(shop.compute.device, workers=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def ours() -> None:
        output = core.Output(shop.output, replace=True, spelling="generic")
        core.extract(tuned, base, RANK, output=output, compute=one)

    try:
        times = sorted(seconds(ours) for _ in range(shop.repeats))
        floors = sorted(seconds(lambda: reading(base, tuned)) for _ in range(shop.repeats))
        mine, floor = (column[len(column) // 2] for column in (times, floors))
        error = errors(shop.output, base, tuned)
        yield Row(
            "processor time: extract three Flux layers at rank 32",
            mine / floor, "x reading", 3.0, {"seconds": mine, "reading": floor, "error": error},
        )  # fmt: skip
        program = (
            f"import core\ncore.extract({str(tuned)!r}, {str(base)!r}, {RANK}, output=core.Output("
            f"{str(shop.output)!r}), compute=core.Compute(workers=2))"
        )
        peak = anonymous_memory_peak(program, Path(__file__).parent.parent)
        yield Row("memory of the same with two workers", peak / 1e6, "MB", 1000.0)
        for name, way in (
            ("torch.svd_lowrank and a quantile", by_svd_lowrank),
            ("dense SVD and a quantile", by_dense_svd),
        ):
            their = seconds(lambda way=way: extracted_by(way, base, tuned, theirs))
            details = {"seconds": mine, "theirs": their, "error": error}
            details["their error"] = errors(theirs, base, tuned)
            yield Row(f"processor time: the same by {name}", mine / their, "x theirs", 1.0, details)
    finally:
        torch.set_num_threads(threads)
