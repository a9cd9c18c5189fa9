"""The loop over modules: written once, used by every edit and every analysis."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from .errors import Cancelled, LoraError

Item = TypeVar("Item")
Result = TypeVar("Result")


CPU = torch.device("cpu")


@dataclass(frozen=True)
class Compute:
    """Where and how to compute.

    `progress` is called after every module with (done, total, name of the module); `cancelled` is
    asked before every module and stops the run by raising Cancelled.
    """

    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    progress: Callable[[int, int, str], None] | None = None
    cancelled: Callable[[], bool] | None = None


def choose_device(name: str) -> torch.device:
    """`auto` is the first CUDA device, or the CPU. Raises LoraError for a device not at hand."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise LoraError(f"device {name!r} cannot be used ({reason}); try --device cpu") from error
    return device


def stream(
    items: Sequence[Item],
    name: Callable[[Item], str],
    function: Callable[[Item], Result],
    compute: Compute,
) -> Iterator[Result]:
    """function(item) for every item, in order, one in memory at a time."""
    for done, item in enumerate(items):
        if compute.cancelled and compute.cancelled():
            raise Cancelled("cancelled; nothing was written")
        # Results stay usable in autograd code outside ComfyUI: no inference mode here.
        with torch.no_grad():
            result = function(item)
        yield result
        if compute.progress:
            compute.progress(done + 1, len(items), name(item))
