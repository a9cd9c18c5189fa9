"""What rows of the benchmark are made of, and where they are made."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

import core

from .generate import generate
from .measure import Floor, dense_svd_seconds


@dataclass
class Row:
    """One line of the table: `figure` in `unit`, the `limit` it must reach, and how it was made."""

    name: str
    figure: float
    unit: str
    limit: float | None = None
    details: dict[str, float] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        return None if self.limit is None else self.figure <= self.limit


@dataclass
class Workshop:
    """Where the inputs lie, how large they are, and how often to measure.

    `modules` restricts the generated files to some weights (patterns), for a quick check.
    """

    folder: Path
    repeats: int = 5
    modules: str | None = None
    device: str = "cpu"

    def file(self, family: str, rank: int, spelling: str, seed: int = 0) -> Path:
        path = self.folder / f"{family}-{rank}-{spelling}-{seed}.safetensors"
        if not path.exists():
            generate(path, family, rank, spelling=spelling, seed=seed, modules=self.modules)
        return path

    @property
    def output(self) -> Path:
        return self.folder / "written.safetensors"

    @property
    def compute(self) -> core.Compute:
        return core.Compute(core.choose_device(self.device))

    def dense_svd(self) -> Floor:
        """One dense SVD of 3072 x 3072, on the CPU: the way to beat."""
        return Floor(0.0, 0.0, dense_svd_seconds(3072 if self.modules is None else 64))

    def in_turn(
        self, work: Callable[[], object], floor: Callable[[], Floor]
    ) -> tuple[float, Floor, float]:
        """(median seconds of the work, the floor, median of the ratios), measured in turn."""
        times, floors = [], []
        for _ in range(self.repeats):
            # A new file, as the floor writes: removing an old one takes time of its own.
            self.output.unlink(missing_ok=True)
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
            floors.append(floor())
        ratios = [t / f.total for t, f in zip(times, floors, strict=True)]
        middle = sorted(floors, key=lambda f: f.total)[len(floors) // 2]
        return statistics.median(times), middle, statistics.median(ratios)


def device_memory(shop: Workshop, name: str, work: Callable[[], object]) -> Iterator[Row]:
    """Peak memory that torch holds on a CUDA device while `work` runs; nothing on the CPU."""
    if shop.compute.device.type != "cuda":
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    peak = torch.cuda.max_memory_reserved()
    yield Row(f"device memory of {name}", peak / 1e6, "MB", 512.0)
