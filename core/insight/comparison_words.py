"""What a comparison means, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, sqrt

from ..naming.blocks import container_of, locate
from .compare import suggested_weights
from .meetings import Pair, parts_of

SAME = 0.999  # cosine from which two updates differ by little more than their strength
TOUCHING = 0.1  # cosine of blocks of one kind that is worth a word
INSIDE = 0.98  # share of the energy
MOST = 6  # sentences on pairs, where there are many


def sentences(pairs: Sequence[Pair], letters: Sequence[str]) -> list[str]:
    """Of two files everything that matters; of more what stands out among the pairs."""
    if len(pairs) == 1:
        (pair,) = pairs
        return of_two(pair, letters[0], letters[1])
    lines = []
    for pair in pairs:
        names = letters[pair.first], letters[pair.second]
        if relation := related(pair, *names):
            lines.append(relation)
    lines = lines[:MOST] + ([f"and {len(lines) - MOST} more such pairs"] if lines[MOST:] else [])
    cosines = sorted((p.overlap.cosine, letters[p.first], letters[p.second])
                     for p in pairs)  # fmt: skip
    (low, *lowest), (high, *highest) = cosines[0], cosines[-1]
    if max(abs(low), high) < TOUCHING:
        widest = max(cosines, key=lambda one: abs(one[0]))
        return [*lines, f"no two touch much: all cosines are within {abs(widest[0]):.3f} of 0"]
    if high >= TOUCHING:
        lines.append(f"closest are {' and '.join(highest)} (cosine {high:.3f})")
    if low <= -TOUCHING:
        lines.append(f"most against each other are {' and '.join(lowest)} (cosine {low:.3f})")
    return lines


def of_two(pair: Pair, a: str, b: str) -> list[str]:
    """Two files: what one is to the other, or where they pull together or apart."""
    lines = []
    if relation := related(pair, a, b):
        lines.append(relation)
    elif pair.common.meetings:
        lines += pulls(pair, a, b)
    overlap = pair.overlap
    if overlap.first > 0 and overlap.second > 0 and not relation:
        ratio = overlap.norm_ratio
        if not 0.5 <= ratio <= 2:
            strong, weak, times = (b, a, ratio) if ratio > 1 else (a, b, 1 / ratio)
            lines.append(f"{strong} is {times:.2g} times as strong as {weak}")
        lines += [
            f"{one} has {len(alone.meetings)} modules that {other} has not ({share:.0%} of it)"
            for one, other, alone, share in alone_in(pair, a, b)
        ]
    return lines


def related(pair: Pair, a: str, b: str) -> str:
    """The two are one, or one is inside the other; an empty text where neither is so."""
    overlap = pair.overlap
    if not overlap.first or not overlap.second:
        nothing = [name for name, e in ((a, overlap.first), (b, overlap.second)) if not e]
        return f"nothing but zeros in {' and '.join(nothing)}"
    common = pair.common.overlap
    if not pair.common.meetings:
        return f"{a} and {b} have no module in common: they cannot fight"
    more = len(pair.meetings) - len(pair.common.meetings)
    if more and common.cosine >= SAME and abs(common.norm_ratio - 1) < 0.01:
        for outer, inner, has in ((b, a, (False, True)), (a, b, (True, False))):
            if all(m.has in (has, (True, True)) for m in pair.meetings):
                return f"{outer} contains {inner}: the same modules, and {more} more"
        return f"{a} and {b} are the same in the {len(pair.common.meetings)} modules of both"
    if abs(overlap.cosine) >= SAME:
        return _one(overlap.cosine, overlap.norm_ratio, a, b)
    shares = pair.spaces.shares
    inside = {
        side: min(shares[f"{side}_in_columns"], shares[f"{side}_in_rows"])
        for side in ("first", "second")
    }
    known = not any(isnan(m.overlap.first_in_columns) for m in pair.meetings)
    energies = {"first": overlap.first, "second": overlap.second}
    for side, chance, inner, outer in zip(inside, pair.by_chance, (a, b), (b, a), strict=True):
        other = inside["second" if side == "first" else "first"]
        part = overlap.inner / energies[side]
        if known and inside[side] >= INSIDE > other and chance < 0.5 and part > 0.1:
            share = "all" if inside[side] > 0.9995 else f"{inside[side]:.1%}"
            return (
                f"{outer} contains {inner} at a strength of about {part:.2g}: "
                f"{share} of {inner} lies in what {outer} reads and writes"
            )
    return ""


def _one(cosine: float, ratio: float, a: str, b: str) -> str:
    said = f"(cosine {cosine:.4f})"
    if cosine < 0:
        return f"{b} is {a} turned around, at {ratio:.3g} times the strength {said}"
    if abs(ratio - 1) < 0.01:
        return f"{a} and {b} are the same LoRA {said}"
    return f"{b} is the same LoRA as {a} at another strength, {ratio:.3g} times {said}"


def alone_in(pair: Pair, a: str, b: str) -> list[tuple[str, str, Pair, float]]:
    """What only one has: (its name, the other's, the modules, their share of its energy)."""
    result = []
    for one, other, side, has in ((a, b, "first", (True, False)), (b, a, "second", (False, True))):
        alone = pair.among(lambda m, has=has: m.has == has)  # type: ignore[misc]
        if alone.meetings:
            share = getattr(alone.overlap, side) / getattr(pair.overlap, side)
            result.append((one, other, alone, share))
    return result


def pulls(pair: Pair, a: str, b: str) -> list[str]:
    """Where in the network they pull together or against each other, and what to do about it."""
    parts = dict(parts_of(pair.common, _container))
    strong = {n: p for n, p in parts.items() if abs(p.overlap.cosine) >= TOUCHING}
    if not strong:
        cosine = round(pair.overlap.cosine, 3) + 0.0
        said = f"they hardly touch (cosine {cosine:.3f}): no weight has to change"
        return [said, *_exception(pair, a, b), *_crowded(pair)]
    if len(strong) == len(parts) and len({p.overlap.cosine > 0 for p in parts.values()}) == 1:
        return [_pull(pair.common, "everywhere", a, b)]
    lines = []
    order = sorted(strong.items(), key=lambda item: -abs(item[1].overlap.inner))
    lines += [_pull(part, f"in {name}" if name else "outside the blocks", a, b)
              for name, part in order[:3]]  # fmt: skip
    rest = [str(name or "outside the blocks") for name in parts if name not in strong]
    if rest:
        lines.append(f"they hardly touch in {', '.join(rest[:3])}{' ...' * (len(rest) > 3)}")
    return lines


def _exception(pair: Pair, a: str, b: str) -> list[str]:
    """The block in which two that hardly touch do so most, where that is much."""
    blocks = list(parts_of(pair.common, lambda module: locate(module).block))
    name, part = max(blocks, key=lambda block: abs(block[1].overlap.cosine))
    if abs(part.overlap.cosine) < 3 * TOUCHING:
        return []
    return [f"but {_pull(part, f'in {name}' if name else 'outside the blocks', a, b)}"]


def _container(module: str) -> str | None:
    block = locate(module).block
    return None if block is None else container_of(block)


def _pull(part: Pair, where: str, a: str, b: str) -> str:
    """How they pull, the strengths to expect at weights of 1, and the weights that mend them."""
    cosine, effects = part.overlap.cosine, part.effects
    how = "in the same direction" if cosine > 0 else "against each other"
    weights = suggested_weights(part.gram, [1.0, 1.0])
    first, second = (f"{effect:.2g}" for effect in effects)
    expect = f"{first} times the strength"
    if first != second:
        expect = f"{a} at {first} and {b} at {second} times the strength"
    tried = " and ".join(f"{weight:.2g}" for weight in weights)
    return f"they pull {how} {where} (cosine {cosine:.2f}): expect {expect} there, try {tried}"


def _crowded(pair: Pair) -> list[str]:
    """They do different things in the same directions, where chance alone would not put them."""
    shares, chance = pair.spaces.shares, pair.by_chance
    mean = [
        sqrt(shares[f"{side}_in_columns"] * shares[f"{side}_in_rows"])
        for side in ("first", "second")
    ]
    if min(mean) < 0.5 or max(chance) > 0.25:
        return []
    return [
        f"but in the same directions: {min(mean):.0%} of each lies in what the other reads and "
        f"writes (by chance {max(chance):.0%})"
    ]
