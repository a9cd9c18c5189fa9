"""The difference of two models, read like a LoRA that stores it weight by weight.

Nothing is computed before a weight is asked for, so every edit and analysis of a LoRA takes it.
"""

from __future__ import annotations

from math import hypot, prod, sqrt

from ..algebra.precision import eps
from ..deferred import Tensor, torch
from ..errors import MismatchError
from ..storage.dtypes import TensorInfo
from ..storage.files import Tensors
from .base_model import BaseModel
from .inputs import file_names

SAME = "use two models of one architecture: a fine-tune and what it was made of"


class Difference(Tensors):
    """W' - W in float32 of every weight that two models share, under the names of a LoRA file.

    `vectors` has norms, biases and parameters by themselves, too. `reshaped` are the weights whose
    shapes differ, and `notes` what a user should know of those that only one model has. Raises
    MismatchError for models that share no weight.
    """

    def __init__(
        self,
        tuned: BaseModel,
        base: BaseModel,
        vectors: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.tuned, self.base, self.device = tuned, base, device
        self.reshaped: dict[str, str] = {}
        self.identities: dict[str, tuple[str, str]] = {}
        # Sizes of the weights that were read: what rounds them is known from that.
        self.sizes: dict[str, float] = {}
        info = {}
        shared = [identity for identity in tuned.weights if identity in base.weights]
        self.notes = [
            f"{len(model.weights) - len(shared)} weights are in {model.name} only: left out"
            for model in (tuned, base)
            if len(model.weights) > len(shared)
        ]
        if not shared:
            raise MismatchError(
                f"they share no weight: {tuned.recognition} and {base.recognition}",
                fix=SAME,
                file=file_names([tuned.name, base.name]),
            )
        for identity in shared:
            name, parameter = base.name_of(identity), identity[1]
            mine, theirs = (model.shape(name, parameter) for model in (tuned, base))
            if mine is None or theirs is None:
                continue  # Only some parts of it are there.
            row = base.family.rows.get(name.native or "")
            vector = min(len(mine), len(theirs)) < 2 or bool(row and row.lone)
            if vector and not vectors:
                continue
            if mine[:1] != theirs[:1] or prod(mine) != prod(theirs):
                self.reshaped[name.canonical] = f"{mine} in {tuned.name}, {theirs} in {base.name}"
                continue
            front = "text_encoders." if name.encoder else "diffusion_model."
            key = front + name.weight + (".diff_b" if parameter == "bias" else ".diff")
            self.identities[key] = identity
            info[key] = TensorInfo("float32", max(mine, theirs, key=len))
        super().__init__(f"{tuned.name} - {base.name}", None, info, {})

    def __getitem__(self, key: str) -> Tensor:
        identity, shape = self.identities[key], self.info[key].shape
        name, parameter = self.base.name_of(identity), identity[1]
        mine, theirs = (
            model.weight(name, parameter, self.device) for model in (self.tuned, self.base)
        )
        self.sizes[key] = float(torch.linalg.vector_norm(theirs))
        return (mine.reshape(shape) - theirs.reshape(shape)).reshape(shape)

    def rounding(self, key: str) -> float:
        """At most the standard deviation that rounding gave the entries of a weight that was read.

        A number of b bits is rounded by up to eps / 2 of itself, evenly (Widrow 1961).
        """
        name, parameter = self.base.name_of(self.identities[key]), self.identities[key][1]
        each = (eps(model.dtype_of(name, parameter)) for model in (self.tuned, self.base))
        return hypot(*each) * self.sizes[key] / sqrt(12 * prod(self.info[key].shape) or 1)

    def check_unchanged(self) -> None:
        for model in (self.tuned, self.base):
            model.tensors.check_unchanged()
