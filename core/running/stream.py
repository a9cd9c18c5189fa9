"""The loop over modules: written once, used by every edit and every analysis.

On the CPU several modules are computed at once, each by one worker with one thread of its own:
modules are small and independent, so this uses all cores where threads inside a matrix product
would mostly wait for each other, reading and writing overlap with arithmetic, and the result does
not depend on the number of cores. Results come in order; in memory are at most the inputs of one
module per worker and the results of two.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ..deferred import torch
from ..errors import Cancelled, LoraError, SettingError, located
from .threads import enough_memory, single_thread_pool

Item = TypeVar("Item")
Result = TypeVar("Result")

# One moves tensors or decomposes a core matrix on the CPU while the device computes for the other.
CUDA_WORKERS = 2
# Modules under way for each worker: a large one does not keep the others waiting for their turn.
AHEAD = 2
# More workers than this gain little: reading and writing the files becomes the limit.
MOST_WORKERS = 8


@dataclass(frozen=True)
class Compute:
    """Where and how to compute: on a `device`, in a `dtype` (float32 or float64).

    `progress` is called after every module with (done, total, name of the module); `cancelled` is
    asked before every module and stops the run by raising Cancelled. `workers` is the number of
    modules computed at once on the CPU, None for one per core. A module that does not fit into the
    memory of another device is computed on the CPU, and `fell_back` called with its name.

    >>> import torch
    >>> exact = core.Compute(core.choose_device("cpu"), torch.float64, workers=2)
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = field(default_factory=lambda: torch.float32)
    progress: Callable[[int, int, str], None] | None = None
    cancelled: Callable[[], bool] | None = None
    workers: int | None = None
    fell_back: Callable[[str], None] | None = None


def choose_device(name: str) -> torch.device:
    """A device by its `name`: cpu, cuda, cuda:1, mps, ...

    `auto` is the first CUDA device, or the CPU. Raises SettingError for a device not at hand.

    >>> core.choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, dtype=torch.float64, device=device).item()  # No device without numbers.
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        reason = str(error).splitlines()[0]
        problem = f"device {name!r} cannot be used ({reason})"
        raise SettingError(problem, fix="choose another one, such as cpu") from error
    return device


def stream(
    items: Sequence[Item],
    name: Callable[[Item], str],
    function: Callable[[Item, Compute], Result],
    compute: Compute,
    file: Callable[[Item], str] = lambda item: "",
) -> Iterator[Result]:
    """function(item, compute) for every item, in order, a bounded number of them in memory.

    An exception of `function` comes out in the item's turn; a LoraError is told the `name` and the
    `file` of the item. Leaving the loop early waits for the modules that are being computed and
    starts no more.
    """
    workers = worker_count(compute, len(items))
    running: deque[Future[Result]] = deque()
    waiting = iter(items)

    def one(item: Item) -> Result:
        with located(file=file(item), module=name(item)):
            return computed(item)

    def computed(item: Item) -> Result:
        # Gradients are per thread. No inference mode: results must work in autograd code too.
        try:
            with enough_memory(), torch.no_grad():
                try:
                    return function(item, compute)
                except RuntimeError as error:
                    if compute.device.type == "cpu" or not out_of_memory(error):
                        raise
                # Here the exception is gone, and with it the tensors that its frames held.
                if compute.fell_back:
                    compute.fell_back(name(item))
                return function(item, replace(compute, device=torch.device("cpu")))
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise LoraError(
                f"its singular values cannot be computed ({error})",
                fix="try smaller weights, or compute in float64",
            ) from error

    def start() -> None:
        if compute.cancelled and compute.cancelled():
            raise Cancelled("cancelled; nothing was written")
        for item in waiting:
            running.append(pool.submit(one, item))
            break

    pool, workers = single_thread_pool(workers, compute.device)
    try:
        for _ in range(AHEAD * workers or 1):
            start()
        for done, item in enumerate(items):
            result = running.popleft().result()
            start()
            yield result
            del result
            if compute.progress:
                compute.progress(done + 1, len(items), name(item))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def out_of_memory(error: Exception) -> bool:
    """Whether a device's memory ran out, in torch itself or in a library below it."""
    full = isinstance(error, torch.cuda.OutOfMemoryError)
    return full or any(text in str(error) for text in ("out of memory", "ALLOC_FAILED"))


def worker_count(compute: Compute, items: int) -> int:
    """One per core; two for a CUDA device; one for others, which take one stream of work."""
    if compute.device.type != "cpu":
        return max(1, min(CUDA_WORKERS, items)) if compute.device.type == "cuda" else 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(compute.workers or cores or 1, MOST_WORKERS, items))
