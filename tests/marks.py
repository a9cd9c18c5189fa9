"""What the fast subset of the tests leaves out: `python -m pytest -m "not slow"`."""

from collections.abc import Iterable

import pytest

slow = pytest.mark.slow


def one_in(number: int, cases: Iterable) -> list:
    """The cases of a `parametrize`, of which every so many-th, from the first on, stays fast.

    A case for several arguments is a tuple, and a tuple is one for several arguments.
    """
    result = []
    for place, case in enumerate(cases):
        arguments = case if isinstance(case, tuple) else (case,)
        result.append(pytest.param(*arguments, marks=slow if place % number else ()))
    return result
