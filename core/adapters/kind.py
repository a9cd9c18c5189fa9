"""What an adapter kind is: the suffixes of its tensors and the update they mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..low_rank import Update

# role -> tensor, already in the compute dtype and on the compute device
Roles = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Kind:
    """One way to store the change of a weight.

    `suffixes` maps the end of a raw key to the tensor's role. `required` lists the roles without
    which a module is broken. `update` turns the tensors and alpha (None where the file has none)
    into the change of the weight at strength 1, as ComfyUI applies it; a kind whose meaning needs
    the base weight has none and says why in `needs_base`. `parameter` is what it changes.
    """

    name: str
    suffixes: Mapping[str, str]
    required: tuple[str, ...]
    update: Callable[[Roles, float | None], Update] | None = None
    needs_base: str = ""
    parameter: str = "weight"
