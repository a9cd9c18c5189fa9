"""What an adapter kind is: the suffixes of its tensors and the update they mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from ..algebra.update import Update
from ..deferred import Tensor

# role -> tensor on the compute device, already in the compute dtype (but see `Kind.as_stored`)
Roles = Mapping[str, Tensor]
# role -> shape of the stored tensor
Shapes = Mapping[str, tuple[int, ...]]
# How to go on where the stored tensors are no update.
DAMAGED = "the file is damaged: retrain or leave the layer out with the layers selector"


class Dimensions(NamedTuple):
    """What the shapes of a module's tensors tell without reading them.

    `shape` is that of the update (out, in, *kernel), empty where they do not tell; the kernel can
    be part of `in`. `rank` bounds the rank of the update, None for kinds that are no product.
    `note` is what a user should know.
    """

    shape: tuple[int, ...] = ()
    rank: int | None = None
    note: str = ""


def unknown(shapes: Shapes) -> Dimensions:
    return Dimensions()


@dataclass(frozen=True, eq=False)
class Kind:
    """One way to store the change of a weight.

    * `forms` are the sets of suffixes that it is stored under, each {end of a raw key: role}. Of
      several forms in one module the first one counts whose first suffix is there.
    * `precedence` is its place in ComfyUI's loader: of two kinds of one module the greater counts.
      0 is for kinds that ComfyUI does not read.
    * `required` lists the roles without which a module is broken; "w1 | w1_a w1_b" is one or two.
    * `update` turns the tensors and alpha (None where the file has none) into the change of the
      weight at strength 1, as ComfyUI applies it. A kind whose meaning needs the base weight has
      none: it says why in `needs_base`, and in `way_out` what can be done beside baking it.
    * `on_base` is what such a kind does to a base weight: of roles, alpha, the weight, and the kind
      that it modifies or None.
    * `factors` says that `up` and `down` are the update's factors as they stand, under suffixes
      that belong to the spelling: `update` gets them in the dtype of the file, and what is computed
      anew is written like this.
    * `scale` tells by what the product of its tensors is multiplied, from shapes and alpha; None
      for kinds that scale in ways of their own.
    * `linear` lists roles of which the update is a multiple: it is scaled with the first one there.
    * `alpha_beside` lists roles beside which alpha counts.
    * `add` makes the roles of the weighted sum of several (roles, alpha, weight) where the kind can
      hold it, and None where it cannot.
    * `ranked` is False where a rank means nothing for what it stores.
    * `dimensions` says what the shapes tell.
    * `modifies` lists the kinds that it modifies instead of standing alone.
    * `parameter` is what it changes.
    * `beside` is a suffix that the module must have, too, for ComfyUI to read it.
    """

    name: str
    forms: tuple[Mapping[str, str], ...]
    required: tuple[str, ...]
    update: Callable[[Roles, float | None], Update] | None = None
    dimensions: Callable[[Shapes], Dimensions] = unknown
    needs_base: str = ""
    way_out: str = ""
    modifies: tuple[Kind, ...] = ()
    parameter: str = "weight"
    beside: str = ""
    precedence: int = 0
    factors: bool = False
    scale: Callable[[Shapes, float | None], float] | None = None
    ranked: bool = True
    linear: tuple[str, ...] = ()
    alpha_beside: tuple[str, ...] = ()
    add: Callable[[Sequence[tuple[Roles, float | None, float]]], Roles | None] | None = None
    on_base: Callable[[Roles, float | None, Tensor, Kind | None], Update] | None = None

    @property
    def suffixes(self) -> set[str]:
        """Every suffix of its tensors; no other kind has it."""
        return {suffix for form in self.forms for suffix in form}

    def form(self, suffixes: Collection[str]) -> Mapping[str, str]:
        """The form that these suffixes of one module are read as."""
        whole = (form for form in self.forms if next(iter(form)) in suffixes)
        part = (form for form in self.forms if set(form) & set(suffixes))
        return next(whole, None) or next(part)

    def missing(self, roles: Collection[str]) -> str | None:
        """The first requirement that these roles do not meet."""
        for requirement in self.required:
            ways = requirement.split(" | ")
            if not any(set(way.split()) <= set(roles) for way in ways):
                return requirement
        return None


KINDS: list[Kind] = []


def register(kind: Kind) -> Kind:
    """Make a kind known to everything that reads files."""
    KINDS.append(kind)
    return kind


def is_thin(rank: int, shape: tuple[int, ...]) -> bool:
    """Whether a product of this rank is worth keeping as factors of a weight (out, in, *kernel).

    Above half of the smaller side the factors of a square weight are larger than the weight.
    """
    return 2 * rank <= min(shape[0], prod(shape[1:]))


def product_dimensions(name: str, rank: int, shape: tuple[int, ...]) -> Dimensions:
    """The measure of a product that is kept as factors while it is thin, made whole otherwise."""
    full = min(shape[0], prod(shape[1:]))
    if is_thin(rank, shape):
        return Dimensions(shape, rank)
    note = f"{name} of more than half the full rank: computed as a whole matrix"
    return Dimensions(shape, min(rank, full), note)
