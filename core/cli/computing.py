"""While a command computes: progress on a terminal, and --verify afterwards."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..deferred import torch
from ..edits.edit import Edited
from ..edits.verify import check
from ..quoting import terminal
from ..reading.lora import Lora
from ..running.stream import Compute, choose_device
from .printing import LOOK, at_terminal, console

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def computing(options: argparse.Namespace, label: str) -> Iterator[Compute]:
    """The compute settings, with a progress bar on a terminal while the block runs."""
    dtype = getattr(torch, getattr(options, "compute_dtype", "float64"))
    if hasattr(options, "watch"):  # One of many files, which have a bar for all of them.
        watched = options.watch, options.cancelled, options.workers
        yield Compute(choose_device(options.device), dtype, *watched)
        return
    with progress_bar() as bar:
        task = bar.add_task(label, total=None)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, total=total, completed=done)

        def fell_back(name: str) -> None:
            bar.console.print(
                f"{terminal(name)}: no room on {options.device}; computed on the CPU",
                style="yellow",
            )

        device = choose_device(options.device)
        yield Compute(device, dtype, progress, fell_back=fell_back)


def progress_bar() -> Progress:
    """What is done, and the time left; on a terminal, and gone when it is done."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(compact=True),
    )
    hidden = LOOK.quiet or not at_terminal(sys.stderr)
    return Progress(*columns, console=console(stderr=True), transient=True, disable=hidden)


def verify_written(
    edited: Edited,
    inputs: Sequence[Lora],
    options: argparse.Namespace,
    weights: Sequence[float] = (1.0,),
    block_weights: str = "",
) -> None:
    """With --verify, measure what was written, and say so in the report's notes."""
    if not options.verify or edited.report.output is None:
        return
    compute = Compute(choose_device(options.device), torch.float64)
    measured = check(edited, inputs, weights, block_weights, compute)
    worst = max(measured.modules, key=lambda row: row.relative_error)
    edited.report.notes.append(
        f"verified: read again, relative error {measured.relative_error:.3g} with the rounding of "
        f"the file over {len(measured.modules)} modules, at most {worst.relative_error:.3g} "
        f"({worst.module})"
    )
