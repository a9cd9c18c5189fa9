"""The registry of merge methods: what each is called, takes, needs, and where it was published.

A method is one function in one file, registered where it stands:

    @method("mean", needs="factors", paper="none")
    def mean(space: CommonSpace, shares: Sequence[float]) -> LowRank:
        return space.update(space.sum / len(shares))

The updates it sees are already multiplied by their weights; at least two of them, none of them
zero. `shares` are the sizes of the weights, for methods whose result is not linear in the updates.

* needs="updates": (updates, **parameters) -> Update.
* needs="factors": (CommonSpace, shares, **parameters) -> LowRank, exact, without a dense matrix.
* needs="tiles": (Stacks, **parameters) -> a function that starts a visit of the result's row tiles.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ..errors import SettingError

F = TypeVar("F", bound=Callable[..., Any])
Need = Literal["updates", "factors", "tiles"]


@dataclass(frozen=True)
class Parameter:
    """A number in [low, high], or a switch where the default is a bool."""

    default: float | bool
    low: float
    high: float
    meaning: str

    def checked(self, method: str, name: str, value: Any) -> float | bool:
        """The value, if it is one. Raises SettingError."""
        switch = isinstance(self.default, bool)
        fits = isinstance(value, bool) == switch and isinstance(value, (bool, int, float))
        if not (fits and self.low <= value <= self.high):
            allowed = "true or false" if switch else f"from {self.low:g} to {self.high:g}"
            raise SettingError(
                f"{name} {value!r} of method {method} is out of range", fix=f"choose {allowed}"
            )
        return bool(value) if switch else float(value)


@dataclass(frozen=True)
class Method:
    """`ordered`: the order of the inputs counts."""

    name: str
    needs: Need
    paper: str
    ordered: bool
    parameters: Mapping[str, Parameter]
    function: Callable[..., Any]

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (self.function.__doc__ or "").split("\n")[0]

    def checked(self, given: Mapping[str, Any]) -> dict[str, float | bool]:
        """All parameters, those that are not given at their defaults. Raises SettingError."""
        for name in given:
            if name not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise SettingError(
                    f"method {self.name} has no parameter {name!r}", fix=f"it has {known}"
                )
        return {
            name: parameter.checked(self.name, name, given.get(name, parameter.default))
            for name, parameter in self.parameters.items()
        }


METHODS: dict[str, Method] = {}


def method(
    name: str,
    *,
    needs: Need,
    paper: str,
    ordered: bool = False,
    **parameters: Parameter,
) -> Callable[[F], F]:
    """Registers the decorated function; its docstring's first line is the summary."""

    def register(function: F) -> F:
        METHODS[name] = Method(name, needs, paper, ordered, parameters, function)
        return function

    return register


def method_named(name: str) -> Method:
    """Raises SettingError for a name that is not registered."""
    if name not in METHODS:
        raise SettingError(
            f"method {name!r} is unknown", fix=f"choose one of {', '.join(sorted(METHODS))}"
        )
    return METHODS[name]
