"""What the benchmarks are built of: time, memory, and the floor that no program gets under.

Everything here returns numbers and prints nothing. The machine is shared with whatever else runs on
it, so figures that are to be compared belong into one run.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

_UP_SUFFIXES = {".lora_up.weight": ".lora_down.weight", ".lora_B.weight": ".lora_A.weight"}
_CHUNK = 8 * 2**20  # bytes per write: large enough for full speed, small enough to stay in cache


def median_seconds(function: Callable[[], object], repeats: int = 5, warm_up: int = 1) -> float:
    """Median wall-clock seconds of `repeats` calls, after `warm_up` calls that do not count."""
    for _ in range(warm_up):
        function()
    return statistics.median(_seconds(function) for _ in range(repeats))


def dense_svd_seconds(n: int = 3072, repeats: int = 1) -> float:
    """Seconds of one dense `torch.linalg.svd` of an n x n float32 matrix: the way to beat."""
    matrix = torch.randn(n, n, generator=torch.Generator().manual_seed(0))
    svd = torch.linalg.svd
    return median_seconds(lambda: svd(matrix, full_matrices=False), repeats, warm_up=0)


@dataclass(frozen=True)
class Layer:
    """The work on one module: out and inner size, summed rank of the inputs, rank of the result."""

    out: int
    inner: int
    stacked: int
    rank: int

    @property
    def parameters(self) -> int:
        """Numbers that the result stores for this module."""
        return (self.out + self.inner) * self.rank


@dataclass(frozen=True)
class Floor:
    """Seconds that the work takes at the least: reading, writing, and the bare matrix products."""

    read: float
    write: float
    multiply: float

    @property
    def total(self) -> float:
        return self.read + self.write + self.multiply


def layers_of(inputs: Sequence[Path], rank: int) -> list[Layer]:
    """The work of merging `inputs` (one file, or several with the same layers) to `rank`.

    Raises ValueError when the files do not hold layers of the same sizes: fused against split
    projections have no common count of products.
    """
    files = [_factor_sizes(path) for path in inputs]
    sizes = [[size[:2] for size in file] for file in files]
    if any(other != sizes[0] for other in sizes):
        raise ValueError(f"{', '.join(map(str, inputs))} hold layers of different sizes")
    layers = []
    for same_layer in zip(*files, strict=True):
        out, inner, _ = same_layer[0]
        stacked = sum(size[2] for size in same_layer)
        layers.append(Layer(out, inner, stacked, min(rank, stacked)))
    return layers


def floor_seconds(
    inputs: Sequence[Path],
    layers: Iterable[Layer],
    folder: Path,
    itemsize: int = 2,
    repeats: int = 5,
) -> Floor:
    """The floor of one edit, file to file, medians of `repeats`.

    read: loading `inputs` with safetensors and touching every byte.
    write: putting as many bytes as the result has (of `itemsize` per number) into a file in
        `folder`, which is removed again.
    multiply: for every layer two Gram products and the projection of both factors, in float32.
    """
    layers = list(layers)
    size = sum(layer.parameters for layer in layers) * itemsize
    return Floor(
        read=median_seconds(lambda: _touch(inputs), repeats),
        write=_write_seconds(folder, size, repeats),
        multiply=sum(
            count * median_seconds(_products(layer), repeats)
            for layer, count in Counter(layers).items()
        ),
    )


def anonymous_memory_peak(
    program: str | Sequence[str], folder: Path | None = None, every: float = 0.002
) -> int:
    """Peak anonymous memory of `program` in bytes, above an interpreter with torch imported.

    program: a command, or the text of a Python program, run in `folder`. Anonymous memory is what
    the process allocates; pages of files that it maps do not count. It is sampled `every` so many
    seconds for the process itself, not for its children, so a shorter peak can be missed.

    Raises OSError where /proc does not tell (other systems than Linux) and RuntimeError with what
    the program wrote to stderr when it fails.
    """
    return _sampled_peak(program, folder, every) - _torch_baseline(every)


@lru_cache
def _torch_baseline(every: float) -> int:
    return _sampled_peak("import torch", None, every)


def _sampled_peak(program: str | Sequence[str], folder: Path | None, every: float) -> int:
    command = [sys.executable, "-c", program] if isinstance(program, str) else list(program)
    peak = 0
    with tempfile.TemporaryFile() as errors:  # a pipe that nobody reads would block the program
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            while process.poll() is None:
                peak = max(peak, _anonymous_bytes(process.pid))
                time.sleep(every)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(errors.read().decode(errors="replace").strip())
    return peak


def _anonymous_bytes(pid: int) -> int:
    """Resident anonymous bytes of a process; 0 once it has ended."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def _factor_sizes(path: Path) -> list[tuple[int, int, int]]:
    """(out, inner, rank) of every LoRA module of a file, sorted; reads the header only."""
    sizes = []
    with safe_open(path, framework="pt") as file:
        keys = file.keys()
        for key in keys:
            for up, down in _UP_SUFFIXES.items():
                if key.endswith(up):
                    out, rank = file.get_slice(key).get_shape()[:2]
                    inner = file.get_slice(key.removesuffix(up) + down).get_shape()[1:]
                    sizes.append((out, math.prod(inner), rank))
    return sorted(sizes)


def _touch(paths: Iterable[Path]) -> None:
    for path in paths:
        for tensor in load_file(path).values():
            tensor.reshape(-1).view(torch.uint8).max()


def _write_seconds(folder: Path, size: int, repeats: int) -> float:
    """Median seconds of writing a new file, without those of removing it."""
    _write(folder, size)  # The first one finds the memory for it.
    return statistics.median(_write(folder, size) for _ in range(repeats))


def _write(folder: Path, size: int) -> float:
    chunk = bytes(_CHUNK)
    handle, path = tempfile.mkstemp(dir=folder)
    try:
        with open(handle, "wb", buffering=0) as file:
            return _seconds(
                lambda: file.writelines(chunk[: size - start] for start in range(0, size, _CHUNK))
            )
    finally:
        os.unlink(path)


def _products(layer: Layer) -> Callable[[], None]:
    """The bare products of one layer, on factors that are already there in float32."""
    up, down = torch.randn(layer.out, layer.stacked), torch.randn(layer.stacked, layer.inner)
    mix = torch.randn(layer.stacked, layer.rank)

    def run() -> None:
        torch.mm(up.T, up)
        torch.mm(down, down.T)
        torch.mm(up, mix)
        torch.mm(mix.T, down)

    return run


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
