"""A cached property holds no lock: one instance does not wait for another."""

import threading

from core import Compute
from core.algebra.cached import cached_property
from core.running.stream import stream


def test_one_module_does_not_wait_for_another_ones_decomposition():
    both = threading.Barrier(2)

    class Slow:
        @cached_property
        def value(self):
            both.wait(timeout=10)  # Passes only while two instances compute at once.
            return object()

    slow = [Slow(), Slow()]
    first = list(stream(slow, repr, lambda item, _: item.value, Compute(workers=2)))
    assert first == [item.value for item in slow]
