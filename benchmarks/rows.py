"""The rows of the benchmark: each is one piece of work with its floor and what it must reach.

A row first does the work once and checks the result, then times the work and its floor in turn, so
that both see the same machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

import core

from .checks import require_optimal
from .generate import generate
from .measure import Floor, Layer, anonymous_memory_peak, floor_seconds, layers_of
from .methods import method
from .workshop import Row, Workshop, device_memory

WEIGHTS = (0.7, 0.5)


def blend(
    shop: Workshop, family: str, rank: int, target: int, weights: Sequence[float] = WEIGHTS
) -> Iterator[Row]:
    """Files of one rank, in kohya's and the generic spelling in turn, to one of the target rank."""
    spellings = ("kohya", "generic")
    inputs = [shop.file(family, rank, spellings[i % 2], i) for i in range(len(weights))]
    settings = core.Blend(weights=weights, rank=target)

    def work() -> None:
        core.blend(inputs, None, settings, core.Output(shop.output), shop.compute)

    work()
    require_optimal(shop.output, inputs, weights)
    layers = layers_of(inputs, target)
    seconds, floor, ratio = shop.in_turn(
        work, lambda: floor_seconds(inputs, layers, shop.folder, repeats=1)
    )
    name = f"blend {family}, rank {' + '.join([str(rank)] * len(inputs))} -> {target}"
    yield Row(name, ratio, "x floor", 3.0, {"seconds": seconds, "floor": floor.total,
              "read": floor.read, "write": floor.write, "multiply": floor.multiply})  # fmt: skip
    yield from device_memory(shop, name, work)
    if (family, rank, len(inputs)) == ("flux", 32, 2):
        seconds, dense, ratio = shop.in_turn(work, shop.dense_svd)
        yield Row(f"{name}, against one dense SVD", ratio, "x dense SVD", 0.3,
                  {"seconds": seconds, "dense SVD": dense.total})  # fmt: skip


def resize(shop: Workshop, rule: core.RankRule) -> Iterator[Row]:
    """A rank 128 Flux file by a dynamic rule; the floor is that of the ranks that come out."""
    source = shop.file("flux", 128, "kohya")

    def work() -> core.Edited:
        return core.resize(source, rule, output=core.Output(shop.output), compute=shop.compute)

    report = work().report
    require_optimal(shop.output, [source], [1.0])
    # In the generated files every module has its own shape and the rule its own rank.
    sizes = {m.canonical: (m.out_features, m.in_features)
             for m in core.Lora(source).modules.values()}  # fmt: skip
    layers = [Layer(*sizes[row.module], 128, row.rank or 1) for row in report.modules]
    seconds, floor, ratio = shop.in_turn(
        work, lambda: floor_seconds([source], layers, shop.folder, repeats=1)
    )
    name = f"resize flux, rank 128 by {rule.name} {rule.value:g}"
    yield Row(name, ratio, "x floor", 3.0, {"seconds": seconds, "floor": floor.total})
    yield from device_memory(shop, name, work)


def compare(shop: Workshop) -> Iterator[Row]:
    """Two rank 128 Flux files against each other, beside resizing one of them by energy."""
    inputs = [shop.file("flux", 128, "kohya"), shop.file("flux", 128, "generic", 1)]

    def work() -> None:
        core.compare(inputs, compute=shop.compute)

    work()
    seconds, other, ratio = shop.in_turn(work, lambda: resize_by_energy(shop, inputs[0]))
    name = "compare flux, rank 128 with 128"
    yield Row(name, ratio, "x resize", 1.5, {"seconds": seconds, "resize": other.total})


def resize_by_energy(shop: Workshop, source: Path) -> Floor:
    """How long it takes."""
    start = time.perf_counter()
    rule = core.RankRule("energy", 0.95)
    core.resize(source, rule, output=core.Output(shop.output), compute=shop.compute)
    return Floor(0.0, 0.0, time.perf_counter() - start)


def memory(shop: Workshop) -> Iterator[Row]:
    """Peak anonymous memory of blends, each in a process of its own; the last has fewer modules."""
    ten = shop.folder / "ten"
    ten.mkdir(exist_ok=True)
    few = replace(shop, folder=ten, modules="single_blocks.?.*")
    for where, name, rank, target in (
        (shop, "flux", 32, 32),
        (shop, "flux", 128, 64),
        (few, "10 of flux's 57 blocks", 128, 64),
    ):
        inputs = [where.file("flux", rank, "kohya"), where.file("flux", rank, "generic", 1)]
        program = (
            "import core\n"
            f"core.blend({str(inputs[0])!r}, {str(inputs[1])!r}, core.Blend(weights={WEIGHTS}, "
            f"rank={target}), core.Output({str(shop.output)!r}))"
        )
        peak = anonymous_memory_peak(program, Path(__file__).parent.parent)
        yield Row(
            f"memory of blend {name}, rank {rank} + {rank} -> {target}", peak / 1e6, "MB", 300.0
        )


def spectral(shop: Workshop) -> Iterator[Row]:
    """Spectral analysis of a rank 128 Flux file, against resizing it by energy."""
    source = shop.file("flux", 128, "kohya")

    def work() -> None:
        core.analyze_lora(source, statistics="spectral", compute=shop.compute)

    work()
    seconds, other, ratio = shop.in_turn(work, lambda: resize_by_energy(shop, source))
    name = "spectral analysis flux, rank 128"
    yield Row(name, ratio, "x resize", 1.5, {"seconds": seconds, "resize": other.total})
    yield from device_memory(shop, name, work)


def full(shop: Workshop) -> Iterator[Row]:
    """All statistics of one Qwen-Image block, against building its dW and the notebook's calls."""
    source = shop.folder / "qwen-block.safetensors"
    if not source.exists():
        generate(source, "qwen-image", 32, modules="transformer_blocks.9.*")
    modules = list(core.Lora(source).modules.values())
    updates = [module.update(torch.device("cpu"), torch.float32) for module in modules]
    products = [update for update in updates if isinstance(update, core.LowRank)]

    def work() -> None:
        core.analyze_lora(source, statistics="full", compute=shop.compute)

    def build() -> Floor:
        start = time.perf_counter()
        for update in products:
            for _ in update.tiles():
                pass
        return Floor(0.0, 0.0, time.perf_counter() - start)

    def notebook() -> Floor:
        start = time.perf_counter()
        for update in products:
            statistics_of_dense(update.dense())
        return Floor(0.0, 0.0, time.perf_counter() - start)

    work()
    seconds, floor, ratio = shop.in_turn(work, build)
    name = "full analysis, one Qwen-Image block, rank 32"
    yield Row(name, ratio, "x tiled mm", 10.0, {"seconds": seconds, "tiled mm": floor.total})
    yield from device_memory(shop, name, work)
    seconds, other, ratio = shop.in_turn(work, notebook)
    yield Row("the same against the notebook's calls without its SVD", 1 / ratio, "x faster", None,
              {"seconds": seconds, "notebook": other.total, "at least": 8.0})  # fmt: skip


def statistics_of_dense(dense: torch.Tensor) -> list[torch.Tensor]:
    """The element-wise statistics of the notebook's columns, by the calls that offer themselves."""
    flat = dense.flatten()
    ranks = torch.tensor([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    # torch.quantile stops at 16 million elements; numpy's percentile does not.
    percentiles = torch.from_numpy(np.percentile(flat.numpy(), ranks.numpy() * 100))
    return [
        flat.min(), flat.max(), flat.mean(), flat.std(correction=0), flat.median(),
        (flat > 0).sum(), (flat < 0).sum(), (flat == 0).sum(),
        flat.abs().sum(), flat.norm(), flat.abs().max(), percentiles,
    ]  # fmt: skip


def full_memory(shop: Workshop) -> Iterator[Row]:
    """Peak anonymous memory of the full analysis of the largest Flux module."""
    source = shop.folder / "linear1.safetensors"
    if not source.exists():
        generate(source, "flux", 32, modules="single_blocks.0.linear1")
    program = f"import core\ncore.analyze_lora({str(source)!r}, statistics='full')"
    peak = anonymous_memory_peak(program, Path(__file__).parent.parent)
    yield Row("memory of the full analysis of 21504 x 3072", peak / 1e6, "MB", 300.0)


IMPORT = """
import importlib.util, sys, time
folder, pack = sys.argv[1:]
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, folder)
import comfy.options
comfy.options.enable_args_parsing()
import comfy_api.latest, execution, server
before = set(sys.modules)
start = time.perf_counter()
spec = importlib.util.spec_from_file_location(
    "lora_alloy", pack + "/__init__.py", submodule_search_locations=[pack]
)
sys.modules["lora_alloy"] = root = importlib.util.module_from_spec(spec)
spec.loader.exec_module(root)
importlib.import_module("lora_alloy.nodes")
print(time.perf_counter() - start)
heavy = {"pandas", "matplotlib"} & (set(sys.modules) - before)
sys.exit(f"imported as well: {heavy}" if heavy else 0)
"""


def importing(shop: Workshop) -> Iterator[Row]:
    """The pack's root and nodes on top of an imported ComfyUI, where there is one."""
    comfyui = Path(os.environ.get("COMFYUI_PATH", "~/comfy/ComfyUI")).expanduser()
    python = os.environ.get("COMFYUI_PYTHON", str(comfyui / ".venv/bin/python"))
    if not comfyui.is_dir():
        return
    pack = str(Path(__file__).parent.parent)
    # Compiled once, as on every start but the first.
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(shop.folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds() -> float:
        done = subprocess.run(
            [python, "-c", IMPORT, str(comfyui), pack],
            env=environment, capture_output=True, text=True, cwd=shop.folder,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return float(done.stdout.split()[-1])

    seconds()
    times = [seconds() for _ in range(shop.repeats)]
    yield Row("importing the pack's root and nodes", statistics.median(times) * 1e3, "ms", 50.0)


def other_ways(shop: Workshop) -> Iterator[Row]:
    """What widely used ways take for the same blend (rank 32 + 32 -> 32), extrapolated.

    Each distinct shape of the file is timed once and counted as often as it occurs: the ways work
    on the dense dW, so their time depends on the shape alone.
    """
    inputs = [shop.file("flux", 32, "kohya"), shop.file("flux", 32, "generic", 1)]
    layers = layers_of(inputs, 32)
    ways: dict[str, Callable[[torch.Tensor], object]] = {
        "torch.svd_lowrank on dense dW": lambda w: torch.svd_lowrank(w, q=40, niter=2),
        "torch.pca_lowrank on dense dW": lambda w: torch.pca_lowrank(w, q=40, center=False),
        "dense torch.linalg.svd": lambda w: torch.linalg.svd(w, full_matrices=False),
    }
    for name, way in ways.items():
        total = 0.0
        for layer in set(layers):
            up, down = torch.randn(layer.out, 64), torch.randn(64, layer.inner)
            start = time.perf_counter()
            way(up @ down)
            total += (time.perf_counter() - start) * layers.count(layer)
        yield Row(f"{name}, {len(layers)} modules (extrapolated)", total, "s")


def all_rows(shop: Workshop) -> dict[str, Callable[[], Iterator[Row]]]:
    """Name of a row -> what measures it."""
    from .extraction import extraction  # which are made of the same rows
    from .peers import peers

    return {
        "flux-32": lambda: blend(shop, "flux", 32, 32),
        "flux-128": lambda: blend(shop, "flux", 128, 64),
        "flux-32x4": lambda: blend(shop, "flux", 32, 32, (0.7, 0.5, 0.3, -0.2)),
        "compare": lambda: compare(shop),
        **{name: partial(method, shop, name) for name in core.METHODS if name != "sum"},
        "qwen-32": lambda: blend(shop, "qwen-image", 32, 32),
        "resize-energy": lambda: resize(shop, core.RankRule("energy", 0.95)),
        "resize-size": lambda: resize(shop, core.RankRule("megabytes", 400.0)),
        "memory": lambda: memory(shop),
        "spectral": lambda: spectral(shop),
        "full": lambda: full(shop),
        "full-memory": lambda: full_memory(shop),
        "import": lambda: importing(shop),
        "other-ways": lambda: other_ways(shop),
        "peers": lambda: peers(shop),
        "extract": lambda: extraction(shop),
    }
