"""The layers that a pattern can mean, by ComfyUI's names, the files' own, and a few short words.

What a pattern is held against, one after the other, upper and lower case alike:

* the words `unet`, `te` and `text_encoder` (all encoders), `te1` to `te3`, `text_encoder_2`;
* the canonical names;
* the files' own names, as they stand and without their prefix;
* the names of the family's other layers: such a pattern means nothing here and is noted, so that
  what was written for one file can be used with another.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import product

from ..errors import SettingError
from .blocks import TEXT_ENCODER, locate
from .family import UNKNOWN, Family, fill
from .selectors import Selector, compile_pattern
from .spelling import ENCODER_NUMBERS, TEXT_PREFIX, split_prefix
from .text_encoders import TEXT_ENCODERS

WORD = re.compile(r"(unet|te|text_encoder)_?([1-3]?)", re.IGNORECASE)
NUMBERS = 12  # of one pattern that are tried in the names of a family


class Layers:
    """The layers of some files: canonical names, and what the files call them.

    `notes` says which patterns meant nothing here. `file` is what errors are about.
    """

    def __init__(
        self,
        names: Mapping[str, Sequence[str]] | Iterable[str],
        family: Family = UNKNOWN,
        file: str = "",
    ) -> None:
        self.raws: dict[str, Sequence[str]] = (
            dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, ())
        )
        self.family, self.file = family, file
        self.notes: list[str] = []

    def selected(self, text: str | None) -> set[str]:
        """The canonical names that a selector means; see `matching` and `excluded`."""
        selector = Selector.parse(text)
        chosen = set() if selector.includes else set(self.raws)
        for pattern in selector.includes:
            chosen |= self.matching(pattern)
        for pattern in selector.excludes:
            chosen -= self.excluded(pattern)
        return chosen

    def matching(self, pattern: str, what: str = "selector") -> set[str]:
        """The canonical names that the pattern means; none, with a note, where the family has some.

        Raises SettingError for a pattern that means nothing at all.
        """
        if word := WORD.fullmatch(pattern):
            found = {name for name in self.raws if self._is(name, word[1].lower(), word[2])}
        else:
            expression = compile_pattern(pattern)
            found = {name for name in self.raws if expression.fullmatch(name)}
            found = found or self._by_own_names(pattern, expression)
        if found:
            return found
        if not (word or fits(pattern, self.family)):
            raise SettingError(
                f"{what} {pattern!r} matches no layer", fix=self._nearest(pattern), file=self.file
            )
        self.notes.append(f"{what} {pattern!r}: this LoRA has no such layers")
        return set()

    def excluded(self, pattern: str) -> set[str]:
        """As `matching`; what there is not need not be left out, which is noted."""
        try:
            return self.matching(pattern)
        except SettingError as error:
            self.notes.append(f"exclusion '-{pattern}': matches no layer; {error.fix}")
            return set()

    def _is(self, name: str, word: str, number: str) -> bool:
        """Whether `unet`, `te`, `text_encoder`, `te1`, ... mean this layer."""
        encoder = locate(name).component == TEXT_ENCODER
        if word == "unet" or not encoder:
            return word == "unet" and not encoder
        prefixes = filter(None, map(TEXT_PREFIX.match, self.raws[name]))
        stored = {p["kohya"] or p["diffusers"] for p in prefixes} - {None, ""}
        canonical = str(ENCODER_NUMBERS.get(name.partition(".")[0], ""))
        return not number or number in (stored or {canonical})

    def _by_own_names(self, pattern: str, expression: re.Pattern[str]) -> set[str]:
        # A prefix such as `diffusion_model.` is the same for all: `*mod*` does not mean it.
        whole = not pattern.startswith("*")
        flat = compile_pattern(pattern.replace("_", "."))

        def means(raw: str) -> bool:
            if whole and "." not in raw and flat.fullmatch(raw.replace("_", ".")):
                return True
            spelled = [split_prefix(raw)[1], *([raw] if whole else [])]
            return any(map(expression.fullmatch, spelled))

        return {name for name, raws in self.raws.items() if any(map(means, raws))}

    def _nearest(self, pattern: str) -> str:
        depth = pattern.count(".") + 1
        names = {".".join(name.split(".")[:depth]): name for name in self.raws}
        lower = {name.lower(): name for name in names}
        close = [lower[n] for n in get_close_matches(pattern.lower()[:100], lower, 3, 0.7)]
        if close:
            return f"did you mean {' or '.join(close)}?"
        example = next(iter(self.raws), "")
        listed = "the names are those that `info` lists, "
        return listed + (f"such as {example}" if example else "there are none")


def fits(pattern: str, family: Family) -> bool:
    """Whether a model of the family can have a layer that the pattern means."""
    if family is UNKNOWN:
        return False
    expression = compile_pattern(pattern)
    numbers = list(dict.fromkeys(["0", *re.findall(r"\d{1,4}", pattern)]))[:NUMBERS]
    for template in templates(family):
        container, _, rest = template.partition(".")
        most = max(family.blocks.get(container, (10_000,)))
        for values in product(numbers, repeat=template.count("#")):
            if values and rest.startswith("#") and int(values[0]) >= most:
                continue
            name = fill(template, values)
            if expression.fullmatch(name) or expression.fullmatch(f"{name}.bias"):
                return True
    return False


def templates(family: Family) -> list[str]:
    """The canonical names of the family's layers, # for numbers, and of text encoders."""
    result: dict[str, None] = {}
    for _, match in family.names:
        parts = "" if match.whole else "." + "".join(match.row.parts[match.first : match.last])
        result[match.row.native + parts] = None
    kinds = {"clip": ("clip_l", "clip_g", "clip_h"), "t5": ("t5xxl",)}
    for kind, encoders in kinds.items():
        natives = TEXT_ENCODERS[kind].rows
        result |= {f"{encoder}.transformer.{n}": None for encoder in encoders for n in natives}
    return list(result)
