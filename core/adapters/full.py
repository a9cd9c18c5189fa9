"""Full differences: the change of a weight, norm or bias stored as it is."""

from ..low_rank import Dense
from .kind import Kind, Measure, Roles, Shapes


def update(roles: Roles, alpha: float | None) -> Dense:
    """The stored tensor, at scale 1: alpha does not count."""
    return Dense(roles["values"])


def measure(shapes: Shapes) -> Measure:
    return Measure(shapes["values"])


STORED = (("values",), update, measure)
DIFFERENCE = Kind("difference", {".diff": "values"}, *STORED)
NORM = Kind("norm", {".w_norm": "values"}, *STORED)
BIAS = Kind("bias", {".diff_b": "values"}, *STORED, parameter="bias")
NORM_BIAS = Kind("norm bias", {".b_norm": "values"}, *STORED, parameter="bias")
