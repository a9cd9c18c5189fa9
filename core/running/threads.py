"""Threads and memory, of which a machine can have less than is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from threading import Event, Lock
from typing import Any

from ..deferred import torch
from ..errors import LoraError

# What the system's and the libraries' errors say where there is no memory: numpy, torch, the loader
# of libraries, the start of a thread.
NO_MEMORY = ("DefaultCPUAllocator", "new thread", "annot allocate memory", "failed to map segment")
# Torch keeps the number of threads that new threads begin with in one place for all.
_starting = Lock()


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Inside, memory that cannot be had is a LoraError of one line."""
    try:
        yield
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        told = str(error)
        if not isinstance(error, MemoryError) and not any(text in told for text in NO_MEMORY):
            raise
        raise LoraError(
            "needs more memory than this machine has free",
            fix="close other programs and run again",
        ) from error


class Inline(Executor):
    """Computes at once, with the thread that asks: where no other one can be had."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        number = torch.get_num_threads()
        torch.set_num_threads(1)  # More would have to be started, which ends the process.
        try:
            future.set_result(function(*args, **more))
        except BaseException as error:
            future.set_exception(error)
        finally:
            torch.set_num_threads(number)
        return future


def one_thread() -> Executor:
    """A pool of one thread that has been started, or none."""
    pool = ThreadPoolExecutor(1)
    try:
        pool.submit(int).result()
    except RuntimeError:
        return Inline()
    return pool


def single_thread_pool(workers: int, device: torch.device) -> tuple[Executor, int]:
    """A pool whose threads each compute with one thread, leaving everybody else's number alone.

    The number says how many it has: fewer where the system gives no more, at last 0 (`Inline`).

    On a CUDA device each has a stream of its own, which begins when the work queued so far (inputs
    may be part of it) is done; what a worker returns must be on the CPU.
    """
    with _starting:
        while workers:
            try:
                return _started(workers, device), workers
            except RuntimeError as error:
                if "new thread" not in str(error):
                    raise
                workers -= 1
    return Inline(), 0


def _started(workers: int, device: torch.device) -> ThreadPoolExecutor:
    """The pool with all of its threads. Raises RuntimeError where the system gives fewer."""
    cuda = device.type == "cuda" and torch.cuda.is_available()
    queued = torch.cuda.current_stream(device) if cuda else None
    go = Event()

    def begin() -> None:
        # The first question makes torch set the thread's number, which would undo ours later.
        torch.get_num_threads()
        # This sets the number for the calling thread, and for threads that torch sees later.
        torch.set_num_threads(1)
        if queued is not None:
            own = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            own.wait_stream(queued)
            torch.cuda.set_stream(own)
        go.wait()  # A thread that is not free yet makes the pool start another.

    pool = ThreadPoolExecutor(workers)
    # A thread of its own says, and sets again, what new threads begin with.
    with ThreadPoolExecutor(1) as spare:
        number = spare.submit(torch.get_num_threads).result()
        begun: list[Future[None]] = []
        try:
            for _ in range(workers):
                begun.append(pool.submit(begin))
            go.set()
            for one in begun:
                one.result()
        except BaseException:
            go.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            spare.submit(torch.set_num_threads, number).result()
    return pool
