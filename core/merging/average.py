"""Averages of checkpoints: the weights that files of one training have in their mean.

An average is a sum whose weights add up to 1, and nothing else: of updates, so that factors are not
averaged one by one (the mean of products is not the product of means).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..deferred import np
from ..errors import SettingError

# A power of 0 weighs all of the training alike; its width is that of a uniform profile.
NARROWEST, WIDEST = 1e-3, 12**-0.5


def average_weights(
    count: int, decay: float | Sequence[float] | None = None, sigma_rel: float | None = None
) -> list[float]:
    """The weights of `count` checkpoints, the first one first, in their average; they add up to 1.

    Equal ones, or those of a moving average that begins with the first file and goes on as
    mean = decay * mean + (1 - decay) * file. `decay` is one number, or two between which it goes
    linearly from the second file to the last. `sigma_rel` makes it that of a power function
    (Karras et al. 2023, arXiv 2312.02696, algorithm 2), as musubi-tuner's post-hoc EMA has it:
    decay = (1 - 1 / t)^(gamma + 1) at the file after t others. The first file is where the training
    began there, and counts nothing; the smaller `sigma_rel`, the more the last ones count.
    Raises SettingError for no file and for what is out of range.

    >>> core.average_weights(4)
    [0.25, 0.25, 0.25, 0.25]
    >>> [round(weight, 3) for weight in core.average_weights(3, decay=0.9)]
    [0.81, 0.09, 0.1]
    >>> [round(weight, 3) for weight in core.average_weights(4, sigma_rel=0.2)]
    [0.0, 0.045, 0.273, 0.682]
    """
    if count < 1:
        raise SettingError("an average of no file", fix="give one or more")
    if decay is not None and sigma_rel is not None:
        raise SettingError("an average has a decay or a sigma_rel", fix="leave one of them out")
    if sigma_rel is not None:
        power = _gamma(sigma_rel) + 1
        decays = [(1 - 1 / t) ** power for t in range(1, count)]
    elif decay is not None:
        decays = _between(decay, count - 1)
    else:
        return [1 / count] * count
    arriving = [1.0, *(1 - one for one in decays)]
    return [share * prod(decays[index:]) for index, share in enumerate(arriving)]


def _between(decay: float | Sequence[float], count: int) -> list[float]:
    """So many decays, from the first to the last one that was given."""
    ends = list(decay) if isinstance(decay, Sequence) else [decay]
    if len(ends) not in (1, 2) or not all(0 <= one <= 1 for one in ends):
        raise SettingError(
            f"decay {' '.join(f'{one:g}' for one in ends)} is out of range",
            fix="choose one number from 0 (only the last file) to 1 (only the first), or two",
        )
    return np.linspace(ends[0], ends[-1], count).tolist() if count > 1 else ends[:count]


def _gamma(sigma_rel: float) -> float:
    """The power of the profile t^gamma whose deviation is `sigma_rel` of the training's length.

    sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)), solved for its largest root.
    """
    if not NARROWEST <= sigma_rel < WIDEST:
        raise SettingError(
            f"sigma_rel {sigma_rel:g} is out of range",
            fix=f"choose a number from {NARROWEST:g} to below {WIDEST:.4f}, such as 0.2",
        )
    ratio = sigma_rel**-2
    return float(np.roots([1, 7, 16 - ratio, 12 - ratio]).real.max())
