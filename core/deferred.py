"""torch and numpy, imported when they are first asked for something.

What needs no arithmetic (help, a wrong option, `info`, `metadata`) then starts at once: torch alone
takes a second or two to import. Everything in `core` has them from here, and nothing asks them for
anything while it is imported; annotations are not evaluated (`from __future__ import annotations`).
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["Tensor", "np", "torch"]

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:

    class Deferred(ModuleType):
        """A module that is imported as soon as an attribute of it is used."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(importlib.import_module(self.__name__), name)
            setattr(self, name, value)  # Found without detours from now on.
            return value

    class OfTensors(type):
        def __instancecheck__(cls, thing: object) -> bool:
            # Without torch there are no tensors.
            return "torch" in sys.modules and isinstance(thing, torch.Tensor)

    class Tensor(metaclass=OfTensors):
        """`torch.Tensor` as annotations and `isinstance` need it."""

    torch, np = Deferred("torch"), Deferred("numpy")
