"""What the library offers, as plain data: what scripts of others are written in terms of."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import core


def described() -> dict[str, Any]:
    """Every public name: a function's arguments, a class's, or what can be chosen."""
    return {name: _described(getattr(core, name)) for name in core.__all__}


def _described(thing: Any) -> Any:
    if inspect.isclass(thing):
        own = [base for base in thing.__mro__ if base.__module__.split(".")[0] == "core"]
        made = any("__init__" in vars(base) for base in own)
        kind = f"class of {thing.__base__.__name__}" if thing.__base__ is not object else "class"
        return {kind: _signature(thing) if made else ""}
    if callable(thing):
        return {"function": _signature(thing)}
    if isinstance(thing, Mapping | tuple):
        return {"choices": list(thing)}
    return {"value": thing if isinstance(thing, str) else type(thing).__name__}


def _signature(function: Any) -> str:
    """Arguments with their defaults, without types: those are spelled differently by versions."""
    parameters = inspect.signature(function).parameters.values()
    shown, kinds = [], inspect.Parameter
    for number, parameter in enumerate(parameters):
        if parameter.kind == kinds.KEYWORD_ONLY and "*" not in "".join(shown):
            shown.append("*")
        text = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        text += parameter.name
        if parameter.default is not parameter.empty:
            text += f"={_value(parameter.default)}"
        if number or text not in ("self", "cls"):
            shown.append(text)
    return f"({', '.join(shown)})"


def _value(default: Any) -> str:
    """A default; of settings only those that are not their own default."""
    if default is core.UNKNOWN:
        return "UNKNOWN"
    if not is_dataclass(default):
        return repr(default)
    plain = type(default)()
    changed = [
        f.name for f in fields(default) if getattr(default, f.name) != getattr(plain, f.name)
    ]
    given = ", ".join(f"{name}={getattr(default, name)!r}" for name in changed)
    return f"{type(default).__name__}({given})"
