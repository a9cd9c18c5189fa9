"""A property that is computed once, by whichever thread asks first."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):
    """functools.cached_property without its lock.

    Until Python 3.12 that lock is one for all instances: while one worker computes the singular
    values of its module, all others would wait for it. Where two threads ask the same instance at
    once, both compute the same value.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "cached_property[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object, owner: type) -> Any:
        # Only asked while the instance has no entry of its own under the name.
        value = instance.__dict__[self.function.__name__] = self.function(instance)
        return value
