"""Methods that look at single entries of the updates: in tiles that never exist all at once.

What most of them share is *trimming*, which entries of an input take part, and *electing*, which of
the inputs count at an entry. Densities are shares of the entries of one weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

from ..deferred import Tensor, np, torch
from .method import Parameter, method
from .stacks import LANES, Stacks

Visit = Callable[[], Iterator[Tensor]]

DENSITY = Parameter(0.5, 0.0, 1.0, "the share of the entries of each input that is kept")


def elect_switch(default: bool) -> Parameter:
    return Parameter(default, 0, 1, "keep only what has the sign of the sum, and take its mean")


@method(
    "magnitude",
    needs="tiles",
    paper="the trimming step of Yadav et al. 2023, arXiv 2306.01708",
    density=DENSITY,
)
def magnitude(stacks: Stacks, density: float) -> Visit:
    """The sum of the largest entries of each input."""
    visit = largest(stacks, density)
    return lambda: (added(stacks, stack) for stack in visit())


@method("ties", needs="tiles", paper="Yadav et al. 2023, arXiv 2306.01708", density=DENSITY)
def ties(stacks: Stacks, density: float) -> Visit:
    """TIES: the largest entries of each input; where signs disagree, those of the sum's sign.

    The mean is over the inputs that count at an entry. Weights take part in the election; where
    the sum is zero, nobody is elected.
    """
    visit = largest(stacks, density)
    return lambda: (elected(stacks, stack) for stack in visit())


@method(
    "dare",
    needs="tiles",
    paper="Yu et al. 2023, arXiv 2311.03099",
    density=DENSITY,
    elect=elect_switch(False),
)
def dare(stacks: Stacks, density: float, elect: bool) -> Visit:
    """DARE: entries dropped at random, the others divided by the density; then the sum or TIES.

    The density is a multiple of 1 / LANES, the nearest one.
    """
    density = round(density * LANES) / LANES

    def tiles() -> Iterator[Tensor]:
        for stack, chances in stacks.with_chances():
            keep(stack, chances, density)
            yield combined(stacks, stack, elect).div_(density or 1.0)

    return tiles


@method(
    "della",
    needs="tiles",
    paper="Deep et al. 2024, arXiv 2406.11617",
    density=DENSITY,
    epsilon=Parameter(0.2, 0.0, 1.0, "how far apart the chances of a row's entries lie"),
    elect=elect_switch(True),
)
def della(stacks: Stacks, density: float, epsilon: float, elect: bool) -> Visit:
    """DELLA: entries dropped at random, the small ones of a row more often; then TIES or the sum.

    The chance to be dropped goes from 1 - density - epsilon / 2 for the largest entry of a row to
    that plus epsilon. Chances stay in [0, 1]: epsilon shrinks beside densities near 0 and 1.
    """
    spread = min(epsilon, 2 * density, 2 * (1 - density))

    def tiles() -> Iterator[Tensor]:
        for stack, chances in stacks.with_chances():
            keeping = (
                places_by_size(stack).mul_(-spread / stack.shape[2]).add_(density + spread / 2)
            )
            keep(stack, chances, keeping)
            stack.div_(keeping.clamp_min_(1e-9))
            yield combined(stacks, stack, elect)

    return tiles


@method(
    "breadcrumbs",
    needs="tiles",
    paper="Davari and Belilovsky 2023, arXiv 2312.06795",
    density=DENSITY,
    gamma=Parameter(0.01, 0.0, 1.0, "the share of the largest entries that is dropped"),
    elect=elect_switch(False),
)
def breadcrumbs(stacks: Stacks, density: float, gamma: float, elect: bool) -> Visit:
    """Model Breadcrumbs: neither the largest entries of each input nor the small ones.

    `density` of them remain below the largest `gamma`; no more are dropped than the density allows.
    """
    count = int(density * stacks.count)
    above = min(int(gamma * stacks.count), stacks.count - count)
    visit = between(stacks, above, above + count)
    return lambda: (combined(stacks, stack, elect) for stack in visit())


def largest(stacks: Stacks, density: float) -> Visit:
    """Visits of the stacks of which the share of the largest entries of each input remains."""
    return between(stacks, 0, int(density * stacks.count))


def between(stacks: Stacks, first: int, end: int) -> Visit:
    """Of each input the entries at ranks [first, end) by size remain; equal ones all or none."""
    if first == end:
        return lambda: (stack.zero_() for stack in stacks)
    high, low = stacks.magnitudes([first, end - 1])
    if stacks.dtype == torch.float64:
        high = np.nextafter(high, np.float32(inf))  # What is rounded to it may be above it.
    # What is above the number before `low` is at least `low`.
    bounds = np.stack([high, np.nextafter(low, np.float32(0))], axis=1).tolist()

    def visit() -> Iterator[Tensor]:
        for stack in stacks:
            for entries, (most, under) in zip(stack, bounds, strict=True):
                if first:
                    entries -= shrunk(entries, most, stacks.spare[0])
                shrunk(entries, under, entries)
            yield stack

    return visit


def shrunk(entries: Tensor, bound: float, out: Tensor) -> Tensor:
    """What is larger than the bound, 0 elsewhere: ten times as fast as a mask."""
    return torch.ops.aten.hardshrink.out(entries, bound, out=out)  # type: ignore[no-any-return]


def keep(stack: Tensor, chances: Tensor, keeping: Tensor | float) -> None:
    """Entries remain where their chance is below `keeping`; the others become 0."""
    if stack.device.type != "cpu":
        stack.mul_(chances < keeping)
        return
    # numpy compares and multiplies by masks several times as fast as torch.
    limit = keeping.numpy() if isinstance(keeping, Tensor) else np.float32(keeping)
    entries = stack.numpy()
    np.multiply(entries, np.less(chances.numpy(), limit), out=entries)


def places_by_size(stack: Tensor) -> Tensor:
    """The place of each entry in its row by size, 0 for the largest; ties in order."""
    columns = np.arange(stack.shape[-1], dtype=np.int32)
    # The bits of floats are ordered as they are. One word has both: size above, column below.
    keys = np.empty((*stack.shape, 2), dtype="<i4")
    keys[..., 0] = columns
    np.subtract(np.int32(-1), stack.cpu().float().abs().numpy().view(np.int32), out=keys[..., 1])
    words = keys.view("<i8")[..., 0]
    words.sort(axis=-1)  # Ten times as fast as torch's.
    ordered = torch.from_numpy(keys[..., 0].astype(np.int64)).to(stack.device)
    places = torch.empty_like(stack)
    return places.scatter_(-1, ordered, torch.from_numpy(columns).to(stack).expand_as(stack))


def combined(stacks: Stacks, stack: Tensor, elect: bool) -> Tensor:
    return elected(stacks, stack) if elect else added(stacks, stack)


def added(stacks: Stacks, stack: Tensor) -> Tensor:
    """The sum [rows, in], in spare memory."""
    total = stacks.spare[0].copy_(stack[0])
    for entries in stack[1:]:
        total += entries
    return total


def elected(stacks: Stacks, stack: Tensor) -> Tensor:
    """Of the entries with the sign of their sum the mean [rows, in]; 0 where the sum is 0.

    In spare memory; the stack is used up.
    """
    sign = added(stacks, stack).sign_()
    stack.mul_(sign).clamp_min_(0)
    total = stacks.spare[1].copy_(stack[0])
    for entries in stack[1:]:
        total += entries
    number = stack[0].sign_()
    for entries in stack[1:]:
        number += entries.sign_()
    return sign.mul_(total).div_(number.clamp_min_(1))
