"""How a table of names is read: which names mean the same weight of a model.

The tables are in `families/`. Each line is `native name = other name | other name`, where

* the native name is the path of the weight inside ComfyUI's model (what `diffusion_model.` stands
  before): it is the canonical name, used in reports and selectors;
* the first other name is what diffusers calls it, the rest are accepted when reading;
* `#` stands for a block index; `{a,b,c}` lists the parts of a fused projection in row order;
* `native[0:3] = name` names a range of the parts of a weight that another line defines;
* `~name` has the two halves of its rows swapped (diffusers' scale and shift), `~~name` only where
  the weight has two rows per column (a last block that has nothing but scale and shift);
* `?name` is one that ComfyUI does not read;
* a line without `=` has one name in every spelling;
* `-` for the other names says that diffusers' model has no such layer;
* the native name among the others says that their prefixes go before it as well: they do where it
  has no other name;
* `!native` is a layer of diffusers' model that ComfyUI's has not: the name is ours;
* `*native` is a parameter by itself, not the weight of a layer, or a layer of a text encoder that
  is no matrix: ComfyUI reads it under its own dotted name only.

Names are compared with every separator written as an underscore, because that is all that is left
of them in kohya files.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from ..algebra.cached import cached_property
from .numbers import number


class Row(NamedTuple):
    """One weight of a family.

    `diffusers` is the name that diffusers writes, as the templates of its parts in row order: one
    template where diffusers does not split the weight, none where every spelling has the native
    name. `mark` is what stands before it in the table. `parts` are short names of the
    pieces that any spelling cuts the weight into, such as q, k, v, mlp; one empty name for none.
    `lone` is a parameter by itself. `prefixed` says that the prefixes of other names go before the
    native one, too. `absent` is what diffusers' model has not, `foreign` what ComfyUI's has not.
    `read` and `read_mark` are the first of the other names that ComfyUI reads.
    """

    native: str
    diffusers: tuple[str, ...]
    mark: str
    parts: tuple[str, ...]
    lone: bool
    prefixed: bool = True
    absent: bool = False
    foreign: bool = False
    read: tuple[str, ...] = ()
    read_mark: str = ""


class Match(NamedTuple):
    """Where one name leads: to parts [first, last) of a row's weight.

    A weight that is not fused has one part. `order` is the name's place in its line, the native
    name first. `mark` is what stands before it.
    """

    row: Row
    first: int
    last: int
    order: int
    mark: str

    @property
    def whole(self) -> bool:
        return self.last - self.first == len(self.row.parts)


def swapped(mark: str, shape: Sequence[int]) -> bool:
    """Whether a name with this mark has its rows in the other order, given its update's shape."""
    mark = mark.replace("?", "")
    return mark == "~" or (mark == "~~" and len(shape) > 1 and shape[0] == 2 * shape[1])


class Called(NamedTuple):
    """What other programs call a model in the metadata of its LoRAs.

    `metadata` are the entries. Where models of several sizes have the same names, `columns` is how
    many columns the weights have whose native names `where` matches.
    """

    metadata: dict[str, str]
    where: str = ""
    columns: int = 0


def called(version: str, architecture: str, where: str = "", columns: int = 0) -> Called:
    """In kohya's words (`ss_base_model_version`) and those of modelspec; an empty one is none."""
    words = {"ss_base_model_version": version, "modelspec.architecture": architecture}
    return Called({key: word for key, word in words.items() if word}, where, columns)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model architecture, as far as the names of its weights go.

    * `table`: the names.
    * `order`: of two families that fit a file equally well the lower one is named first.
    * `blocks`: native container -> the numbers of blocks that models have; `rows_per_column` of a
      native template's weight. Evidence for telling families with the same names apart, and for
      the size of a part that no file has; never a limit.
    * `shapes`: `rows x columns` of every layer that a model has, and of the parts that names cut it
      into: a line for each width of models. Evidence for telling families with the same names
      apart, too.
    * `cuts`: a pattern of native names -> how tall the parts of a fused weight are, in proportion;
      where nothing is said all but the last are as tall as the weight is wide.
    * `metadata`: a pattern of what metadata call the family, in lower case without separators.
    * `prefix`: what diffusers writes before its names; `prefixes`: all that ComfyUI accepts before
      the names other than the native one, in the order of its key map.
    * `convolutions`: a pattern of native names of 3x3 convolutions; LoHa and LoKr store them flat.
    * `kohya_is_native`: False where kohya's trainer writes diffusers names after `lora_unet_`.
    * `lone_encoder`: True where kohya's text encoder has no number.
    * `encoders`: what ComfyUI calls the text encoders that are no CLIP, where it is more than a
      `t5xxl` that comes after them: this one is first where it stands by itself.
    * `processors`: True where ComfyUI reads attention under diffusers' names from before 0.20
      (`attn1.processor.to_q`), and diffusers wants those with the suffixes that went with them.
    * `called`: what other programs call it in metadata, size by size, where they have a word.
    * `comfyui_models`: its classes in ComfyUI's `supported_models`.
    * `diffusers_models`: diffusers' classes of it that take LoRAs; none where diffusers has no such
      model, and then nothing is written for it.
    """

    name: str
    table: str
    order: int = 1000
    blocks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    shapes: str = ""
    cuts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    metadata: str = ""
    prefixes: tuple[str, ...] = ("transformer.", "lycoris_", "lora_transformer_", "")
    prefix: str = "transformer."
    rows_per_column: dict[str, int] = field(default_factory=dict)
    convolutions: str = ""
    kohya_is_native: bool = True
    lone_encoder: bool = False
    encoders: tuple[str, ...] = ()
    processors: bool = False
    called: tuple[Called, ...] = ()
    comfyui_models: tuple[str, ...] = ()
    diffusers_models: tuple[str, ...] = ()

    def kernel(self, native: str | None, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape with the kernel apart, where it is flat and the weight is a convolution."""
        flat = native and self.convolutions and len(shape) == 2 and shape[1] % 9 == 0
        if flat and re.search(self.convolutions, str(native)):
            return (shape[0], shape[1] // 9, 3, 3)
        return shape

    def heights(
        self, native: str, rows: int, known: Mapping[int, int] = MappingProxyType({})
    ) -> list[int] | None:
        """The rows of each part of a weight, where `cuts` says them: of so many in all, or of what
        is known of single parts."""
        for pattern, cut in self.cuts.items():
            if re.search(pattern, native) and (rows or known):
                part = next(iter(known), 0)
                unit = rows // sum(cut) if rows else known[part] // cut[part]
                return [unit * share for share in cut]
        return None

    @cached_property
    def sizes(self) -> tuple[frozenset[tuple[int, ...]], ...]:
        """(rows, columns) of the layers, for each width that models have."""
        lines = (line.split() for line in self.shapes.strip().splitlines())
        return tuple(frozenset(tuple(map(int, s.split("x"))) for s in line) for line in lines)

    @cached_property
    def names(self) -> list[tuple[str, Match]]:
        """Every name template of the table with what it means, in the order of the table."""
        rows: dict[str, Row] = {}
        result = []
        for line in self.table.strip().splitlines():
            native, _, others = (piece.strip() for piece in line.partition("="))
            native, _, span = native.partition("[")
            names = [name.strip() for name in others.split("|") if name.strip()]
            absent = "-" in names
            names = [name for name in names if name != "-"]
            # Braces on the left make one line stand for several; on the right alone they are parts.
            natives = list(expand_braces(native))
            choices = [list(expand_braces(name)) for name in names]
            for position, native in enumerate(natives):
                lone, foreign = native.startswith("*"), native.startswith("!")
                native = native.lstrip("*!")
                ways = [[way[position]] for way in choices] if len(natives) > 1 else choices
                if span:
                    first, last = (int(number) for number in span[:-1].split(":"))
                    row = rows[native]
                    result += [(way[0], Match(row, first, last, 0, "")) for way in ways]
                    continue
                row = rows[native] = _row(native, ways, lone)._replace(
                    absent=absent, foreign=foreign
                )
                parts = len(row.parts)
                result.append((native, Match(row, 0, parts, 0, "")))
                for order, way in enumerate(ways, 1):
                    for index, name in enumerate(way):
                        first, last = (index, index + 1) if len(way) > 1 else (0, parts)
                        mark, bare = _mark(name)
                        result.append((bare, Match(row, first, last, order, mark)))
        return result

    @cached_property
    def rows(self) -> dict[str, Row]:
        """Native template -> row."""
        return {match.row.native: match.row for _, match in self.names}

    @cached_property
    def layers(self) -> frozenset[str]:
        """The natives of layers in the family's blocks, norms aside, with # for every number."""
        return frozenset(
            anonymous(native)
            for native, row in self.rows.items()
            if native.split(".")[0] in self.blocks
            and not (row.lone or row.foreign or "norm" in native)
        )

    @cached_property
    def index(self) -> dict[str, list[tuple[tuple[str, ...], Match]]]:
        """Flattened name with every number as # -> (its number segments, match), for look-up."""
        result: dict[str, list[tuple[tuple[str, ...], Match]]] = {}
        for template, match in self.names:
            numbers, key = split_numbers(flatten(template))
            result.setdefault(key, []).append((numbers, match))
        return result

    def find(self, flat: str) -> tuple[Match, list[str]] | None:
        """The table's entry for a flattened name, with the values of its `#`, or None."""
        numbers, key = split_numbers(flat)
        return self.find_split(numbers, key)

    def find_split(self, numbers: Sequence[str], key: str) -> tuple[Match, list[str]] | None:
        """`find` for a name that `split_numbers` has split."""
        for template_numbers, match in self.index.get(key, ()):
            pairs = list(zip(template_numbers, numbers, strict=True))
            if all(expected in ("#", found) for expected, found in pairs):
                return match, [found for expected, found in pairs if expected == "#"]
        return None


# The family of a file that no table knows: it has no names, and the habits of most others.
UNKNOWN = Family(name="unknown", table="", prefixes=())


def _row(native: str, ways: Sequence[Sequence[str]], lone: bool) -> Row:
    """The row of a native name, given the other names in their ways to cut the weight."""
    marked = _marks(ways[0]) if ways else []
    finest = max(ways, key=len, default=())
    parts = tuple(map(part_name, finest)) if len(finest) > 1 else ("",)
    mark = marked[0][0] if marked else ""
    prefixed = not ways or [native] in ways
    read = next((way for way in map(_marks, ways) if "?" not in way[0][0]), [])
    row = Row(native, tuple(name for _, name in marked), mark, parts, lone, prefixed)
    return row._replace(read=tuple(name for _, name in read), read_mark=read[0][0] if read else "")


def part_name(template: str) -> str:
    """What a part is called, from its diffusers name: to_q, add_q_proj -> q, proj_mlp -> mlp."""
    found = re.search(r"_([qkv])(?:_proj)?$|_(mlp)$", template)
    return next(filter(None, found.groups())) if found else template


def _marks(way: Sequence[str]) -> list[tuple[str, str]]:
    return [_mark(name) for name in way]


def _mark(name: str) -> tuple[str, str]:
    """(mark, name without it)."""
    bare = name.lstrip("~?")
    return name[: len(name) - len(bare)], bare


def flatten(name: str) -> str:
    """A dotted path with underscores for separators, as kohya files spell it."""
    return name.replace(".", "_")


def anonymous(name: str) -> str:
    """The name with # for its numbers."""
    return re.sub(r"\d+(?=\.|$)", "#", name)


@lru_cache(maxsize=1 << 14)  # Every family is asked about every name.
def split_numbers(flat: str) -> tuple[tuple[str, ...], str]:
    """The number (or `#`) segments of a flattened name, and the name with # in their place."""
    segments = flat.split("_")
    numbers = tuple(s for s in segments if s == "#" or number(s) is not None)
    return numbers, "_".join("#" if number(s) is not None else s for s in segments)


def fill(template: str, numbers: Sequence[str]) -> str:
    """The template with its `#` replaced by numbers, in order."""
    values = iter(numbers)
    return re.sub("#", lambda _: next(values), template)


def expand_braces(name: str) -> Iterator[str]:
    """`a.{b,c}.d` -> a.b.d, a.c.d."""
    pieces = re.split(r"\{([^}]*)\}", name)
    choices = [p.split(",") if i % 2 else [p] for i, p in enumerate(pieces)]
    return ("".join(combination) for combination in itertools.product(*choices))
