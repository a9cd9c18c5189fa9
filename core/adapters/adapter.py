"""The tensors of one module as they are stored, and the numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite, nan

from ..algebra.low_rank import LowRank
from ..algebra.precision import ordinary
from ..algebra.update import Lazy, Update
from ..deferred import Tensor, torch
from ..errors import FileError, located
from ..storage.dtypes import TensorInfo
from ..storage.files import Tensors
from .kind import DAMAGED, Dimensions, Kind

# Of these every entry is one of float32, and torch can do with them what updates need.
HANDY = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Adapter:
    """The tensors of one module's weight (or bias) in a file, still on disk.

    `keys` maps roles to raw keys ("alpha" among them where the file has one), `suffixes` to the
    ends of those keys. `modified` is the kind that a modifier such as DoRA modifies.
    """

    kind: Kind
    keys: dict[str, str]
    suffixes: dict[str, str] = field(default_factory=dict)
    modified: Kind | None = None

    @property
    def factors(self) -> bool:
        """Whether its update is up @ down of the stored rank, whatever modifies it."""
        return (self.modified or self.kind).factors

    @property
    def alpha_counts(self) -> bool:
        """Whether its alpha changes what it means."""
        return any(role in self.keys for role in self.kind.alpha_beside)

    def dimensions(self, info: Mapping[str, TensorInfo]) -> Dimensions:
        """What the shapes of its tensors tell; nothing where they are damaged."""
        shapes = {role: info[key].shape for role, key in self.keys.items()}
        try:
            return (self.modified or self.kind).dimensions(shapes)
        except IndexError:
            return Dimensions()

    def scale(self, info: Mapping[str, TensorInfo], alpha: float | None) -> float:
        """What the product of its tensors is multiplied by; NaN where its kind does not tell."""
        if self.kind.scale is None:
            return 1.0 if alpha is None else nan
        return self.kind.scale({role: info[key].shape for role, key in self.keys.items()}, alpha)

    def roles(
        self, read: Callable[[str], Tensor], device: torch.device, dtype: torch.dtype
    ) -> tuple[dict[str, Tensor], float | None]:
        """Its tensors by their roles, and alpha. Raises FileError for NaN and Inf."""
        roles, alpha = {}, None
        for role, key in self.keys.items():
            if role == "alpha":
                alpha = scalar(read(key), key)
                continue
            tensor = read(key).to(device)
            stored = (
                self.kind.factors
                and role in ("up", "down")
                and TensorInfo.of(tensor).dtype_name in HANDY
            )
            tensor = roles[role] = tensor if stored else tensor.to(dtype)
            if not finite(tensor):
                raise FileError("contains NaN or Inf", fix=DAMAGED, tensor=key)
        return roles, alpha

    def update(
        self,
        read: Callable[[str], Tensor],
        device: torch.device,
        dtype: torch.dtype,
        lazy: bool = False,
        base: Tensor | None = None,
    ) -> Update:
        """The change of the weight at strength 1. Raises FileError for NaN, Inf, or bad shapes.

        `lazy` leaves products of products as they are, for who asks for norms and distances only.
        `base` is the weight itself, which some kinds need.
        """
        roles, alpha = self.roles(read, device, dtype)
        with located(tensor=", ".join(self.keys[role] for role in roles)):
            if len(roles) > 1 + self.kind.factors and not all(map(ordinary, roles.values())):
                # What several factors make together can leave the range of float32 on the way.
                dtype = torch.float64
                roles = {role: tensor.to(dtype) for role, tensor in roles.items()}
            if self.kind.update is not None:
                update = self.kind.update(roles, alpha)
            else:
                assert self.kind.on_base is not None and base is not None
                update = self.kind.on_base(roles, alpha, base.to(dtype), self.modified)
            if isinstance(update, Lazy) and update.thin is not None and not lazy:
                update = update.thin()
            return update.computed_in(dtype) if isinstance(update, LowRank) else update


def scalar(tensor: Tensor, key: str) -> float:
    """The value of an alpha: 0-d or one element, of any dtype."""
    number = float(tensor.float()) if tensor.numel() == 1 else None
    return _sound(number, tuple(tensor.shape), key)


def stored_scalar(tensors: Tensors, key: str) -> float:
    """The same, of a tensor that may not be read yet."""
    return _sound(tensors.number(key), tensors.info[key].shape, key)


def _sound(value: float | None, shape: tuple[int, ...], key: str) -> float:
    if value is None:
        raise FileError(f"must hold one number, its shape is {shape}", fix=DAMAGED, tensor=key)
    if value != value or abs(value) == float("inf"):
        problem = f"is {value}, so the scale of the layer is unknown"
        raise FileError(problem, fix=DAMAGED, tensor=key)
    return value


def finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or Inf; True for whole numbers."""
    if not tensor.is_floating_point():
        return True
    # A sum is finite unless an entry is not, or it overflows: then look closely.
    values = tensor.float() if tensor.dtype.itemsize == 1 else tensor
    return isfinite(values.sum().item()) or bool(torch.isfinite(values).all())
