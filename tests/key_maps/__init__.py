"""Which names ComfyUI's loader and diffusers' models have, at full depth, without either of them.

`tests/make_key_maps.py` asks them and writes `tests/data/key_maps/`: a text file a model. A line is
a weight with its shape, and the names that a loader accepts for it in the loader's order:

    blocks.[0-39].qkv.weight 15360x5120 [0:5120] ~ | lora_unet_% x.@ =layers.[1].to_q @ lycoris_%

* `[0-39]` in a weight are numbers, `[1]` in another name the first such number of the weight;
* `[0:5120]` is the piece of the weight's rows that is meant, `~` says that its halves are swapped;
* `@` is the path, which is the weight's own until `=` gives another one, `%` the same with
  underscores for dots.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "data" / "key_maps"
DIFFUSION_MODELS, TEXT_ENCODERS, DIFFUSERS = "diffusion_models", "text_encoders", "diffusers"
ROWS = "diffusers_rows"


class Entry(NamedTuple):
    """One name: which rows of which parameter it means."""

    raw: str
    key: str
    start: int | None
    length: int | None
    swapped: bool
    whole: tuple[int, ...]

    @property
    def bias(self) -> bool:
        return self.key.endswith(".bias")

    @property
    def lone(self) -> bool:
        """A parameter by itself, not the weight of a layer."""
        return not self.key.endswith((".weight", ".bias"))

    @property
    def weight(self) -> str:
        return self.key.removesuffix(".weight")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.whole if self.length is None else (self.length, *self.whole[1:])

    @property
    def place(self) -> tuple[str, int, int]:
        return (self.weight, self.start or 0, self.shape[0] if self.shape else 1)


def models(group: str) -> list[str]:
    return sorted(path.stem for path in (FOLDER / group).glob("*.txt"))


@cache
def load(group: str, model: str) -> tuple[Entry, ...]:
    """The key map of a model: for every weight its names in the loader's order."""
    return tuple(expand((FOLDER / group / f"{model}.txt").read_text()))


def rows(model: str) -> dict[str, set[tuple[int, int, bool]]]:
    """Which rows of ComfyUI's weights diffusers' converters give to its layers.

    {name with # for numbers: {(first, how many, whether its halves are swapped), ...}}
    """
    result: dict[str, set[tuple[int, int, bool]]] = defaultdict(set)
    path = FOLDER / ROWS / f"{model}.txt"
    for line in path.read_text().splitlines() if path.exists() else ():
        name, span, *swapped = line.split()
        first, end = (int(number) for number in span[1:-1].split(":"))
        result[name].add((first, end - first, bool(swapped)))
    return result


def rows_text(listed: Iterable[Sequence]) -> str:
    """The text of `rows`, from [name, weight, first, how many, swapped]."""
    lines = {
        f"{apart(name)[0]} [{first}:{first + height}]{' ~' if swapped else ''}"
        for name, _, first, height, swapped in listed
    }
    return "\n".join(sorted(lines, key=natural)) + "\n"


# -- writing --------------------------------------------------------------------------------------


class Target(NamedTuple):
    """A piece of a weight, and its names in order, with the numbers apart."""

    numbers: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]


def compact(entries: Iterable[Entry]) -> str:
    """The text of a key map. The order of the weights is lost, that of a weight's names is not."""
    found: dict[Entry, list[str]] = {}
    for entry in entries:
        found.setdefault(entry._replace(raw=""), []).append(entry.raw)
    groups: dict[tuple, list[Target]] = defaultdict(list)
    for entry, names in found.items():
        key, numbers = apart(entry.key)
        split = [apart(name) for name in names]
        template = (entry._replace(key=key), tuple(name for name, _ in split))
        groups[template].append(Target(numbers, tuple(numbers for _, numbers in split)))
    lines = []
    for (entry, names), targets in groups.items():
        for ranges, filled in solved(targets, names):
            lines.append(line(entry._replace(key=joined(entry.key, ranges)), filled))
    return "\n".join(sorted(lines, key=natural)) + "\n"


def natural(text: str) -> list[tuple[int, str]]:
    return [(int(s), "") if s.isdigit() else (-1, s) for s in re.split(r"(\d+)", text)]


def apart(name: str) -> tuple[str, tuple[str, ...]]:
    """A name with # for its whole numbers, and the numbers."""
    pieces = re.split(r"(?:(?<=[._])|^)(\d+)(?=[._]|$)", name)
    return "#".join(pieces[::2]), tuple(pieces[1::2])


def joined(template: str, values: Sequence[str]) -> str:
    numbers = iter(values)
    return re.sub("#", lambda _: next(numbers), template)


def solved(targets: list[Target], names: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """(ranges of the weight's numbers, names with [1] or a number for each #) that cover them."""
    fillings: list[list[str]] = []
    for place, name in enumerate(names):
        fillings.append([])
        for position in range(name.count("#")):
            values = [target.names[place][position] for target in targets]
            own = next(
                (
                    index
                    for index in range(len(targets[0].numbers))
                    if all(t.numbers[index] == v for t, v in zip(targets, values, strict=True))
                ),
                None,
            )
            if len(set(values)) == 1:
                fillings[-1].append(values[0])
            elif own is not None:
                fillings[-1].append(f"[{own + 1}]")
            else:
                for value in dict.fromkeys(values):
                    some = [t for t, v in zip(targets, values, strict=True) if v == value]
                    yield from solved(some, names)
                return
    filled = [joined(name, values) for name, values in zip(names, fillings, strict=True)]
    for values in products({target.numbers for target in targets}):
        ranges = [spans(value) for value in values]
        # From places among all numbers to places among those that vary, or to the number itself.
        place = itertools.count(1)
        refers = [f"[{next(place)}]" if "[" in span else span for span in ranges]
        pick = re.compile(r"\[(\d+)\]")
        yield ranges, [pick.sub(lambda m, r=refers: r[int(m[1]) - 1], name) for name in filled]


def products(numbers: set[tuple[str, ...]]) -> Iterator[list[set[str]]]:
    """Sets of values, position by position, whose products make up the numbers."""
    columns = [set(column) for column in zip(*numbers, strict=True)]
    size = 1
    for column in columns:
        size *= len(column)
    if size == len(numbers) or not columns:
        yield columns
        return
    # Those with the same tails go together.
    tails: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for first, *rest in numbers:
        tails[first].add(tuple(rest))
    heads: dict[frozenset, set[str]] = defaultdict(set)
    for first, rests in tails.items():
        heads[frozenset(rests)].add(first)
    for rests, firsts in heads.items():
        for columns in products(set(rests)):
            yield [firsts, *columns]


def spans(values: set[str]) -> str:
    """`[0-3,5]` of numbers, the number itself of one."""
    if len(values) == 1:
        return next(iter(values))
    result: list[list[int]] = []
    for number in sorted(map(int, values)):
        if result and result[-1][1] == number - 1:
            result[-1][1] = number
        else:
            result.append([number, number])
    return "[" + ",".join(f"{a}-{b}" if a != b else f"{a}" for a, b in result) + "]"


def line(entry: Entry, names: Sequence[str]) -> str:
    words = [entry.key, "x".join(map(str, entry.whole)) or "-"]
    if entry.length is not None:
        words.append(f"[{entry.start}:{(entry.start or 0) + entry.length}]")
    if entry.swapped:
        words.append("~")
    words.append("|")
    path = referring(entry.key)
    for name in names:
        short = shortened(name, path)
        if short is None:
            path = next((name[len(p) :] for p in PREFIXES if name.startswith(p)), name)
            words.append(f"={path}")
            short = shortened(name, path)
        words.append(str(short))
    return " ".join(words)


def referring(key: str) -> str:
    """The path of a weight, with [1], [2] for its ranges."""
    count = itertools.count(1)
    return re.sub(r"\[[^\]]*\]", lambda _: f"[{next(count)}]", key.removesuffix(".weight"))


PREFIXES = ("base_model.model.", "unet.base_model.model.", "diffusion_model.", "transformer.",
            "text_encoders.", "text_encoder.", "unet.", "lora_unet_", "lycoris_",
            "lora_transformer_", "lora_te_", "lora_te1_")  # fmt: skip


def shortened(name: str, path: str) -> str | None:
    for mark, ending in (("@", path), ("%", path.replace(".", "_"))):
        if name.endswith(ending):
            return name.removesuffix(ending) + mark
    return None


# -- reading --------------------------------------------------------------------------------------


def expand(text: str) -> Iterator[Entry]:
    for row in text.splitlines():
        head, _, tail = row.partition(" | ")
        key, shape, *more = head.split(" ")
        whole = tuple(int(size) for size in shape.split("x")) if shape != "-" else ()
        start = length = None
        for word in more:
            if word != "~":
                start, end = (int(number) for number in word[1:-1].split(":"))
                length = end - start
        template = re.split(r"\[([^\]]*)\]", key)
        names = list(written_out(tail.split(" "), referring(key)))
        for numbers in itertools.product(*(listed(spans) for spans in template[1::2])):
            full = "".join(itertools.chain(*itertools.zip_longest(
                template[::2], numbers, fillvalue="")))  # fmt: skip
            for name in names:
                raw = re.sub(r"\[(\d+)\]", lambda m, n=numbers: n[int(m[1]) - 1], name)
                yield Entry(raw, full, start, length, "~" in more, whole)


def written_out(words: Iterable[str], path: str) -> Iterator[str]:
    for word in words:
        if word.startswith("="):
            path = word[1:]
        elif word.endswith("@"):
            yield word[:-1] + path
        else:
            yield word[:-1] + path.replace(".", "_")


def listed(spans: str) -> Iterator[str]:
    for span in spans.split(","):
        first, _, last = span.partition("-")
        yield from map(str, range(int(first), int(last or first) + 1))
