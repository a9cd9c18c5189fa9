"""Full differences: the change of a weight, norm or bias stored as it is."""

from ..algebra.update import Dense
from .kind import Dimensions, Kind, Roles, Shapes, register


def update(roles: Roles, alpha: float | None) -> Dense:
    """The stored tensor, at scale 1: alpha does not count."""
    return Dense(roles["values"])


def dimensions(shapes: Shapes) -> Dimensions:
    return Dimensions(shapes["values"])


def stored(name: str, suffix: str, parameter: str, precedence: int, beside: str = "") -> Kind:
    return register(
        Kind(
            name,
            ({suffix: "values"},),
            ("values",),
            update,
            dimensions,
            parameter=parameter,
            beside=beside,
            precedence=precedence,
            scale=lambda shapes, alpha: 1.0,
            linear=("values",),
        )
    )


NORM = stored("norm", ".w_norm", "weight", 6)
NORM_BIAS = stored("norm bias", ".b_norm", "bias", 6, beside=".w_norm")
DIFFERENCE = stored("difference", ".diff", "weight", 7)
BIAS = stored("bias", ".diff_b", "bias", 7)
# What PEFT writes; ComfyUI reads it in the control LoRAs of Black Forest Labs only.
PEFT_SUFFIX = ".lora_B.bias"
PEFT_BIAS = stored("PEFT bias", PEFT_SUFFIX, "bias", 0)
