"""For all tests: torch with one thread, and a garbage collector with less to look through."""

import gc

import torch

torch.set_num_threads(1)  # Small matrices are slower with more.


def pytest_collection_finish() -> None:
    gc.freeze()  # What was imported and collected stays to the end.
