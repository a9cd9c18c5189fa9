"""For all tests: torch with one thread, and a garbage collector with less to look through."""

import gc
from collections import defaultdict

import pytest
import torch

torch.set_num_threads(1)  # Small matrices are slower with more.


MOST = 8  # cases of one test function in the fast subset


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a function that are not slow, some stay fast, evenly spread."""
    families: dict[tuple[object, str], list[pytest.Item]] = defaultdict(list)
    for item in items:
        if not item.get_closest_marker("slow"):
            families[item.path, getattr(item, "originalname", item.name)].append(item)
    for cases in families.values():
        step = -(-len(cases) // MOST)
        for place, item in enumerate(cases):
            if place % step:
                item.add_marker("slow")


def pytest_collection_finish() -> None:
    gc.freeze()  # What was imported and collected stays to the end.
