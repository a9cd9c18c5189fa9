"""Full differences: the change of a weight, norm or bias stored as it is."""

from ..low_rank import Dense
from .kind import Kind, Roles


def update(roles: Roles, alpha: float | None) -> Dense:
    """The stored tensor, at scale 1: alpha does not count."""
    return Dense(roles["values"])


DIFFERENCE = Kind("difference", {".diff": "values"}, ("values",), update)
NORM = Kind("norm", {".w_norm": "values"}, ("values",), update)
BIAS = Kind("bias", {".diff_b": "values"}, ("values",), update, parameter="bias")
NORM_BIAS = Kind("norm bias", {".b_norm": "values"}, ("values",), update, parameter="bias")
