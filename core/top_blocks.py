"""Top blocks: keep (or remove) the few blocks in which most of a LoRA sits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .analysis import analyze_lora
from .blocks import locate
from .edit import Edited
from .errors import LoraError
from .importance import SOFTMAX, explain, importance_table, up_to
from .lora import Lora, Source
from .output import Output
from .select import select
from .selectors import Selector
from .stream import Compute

if TYPE_CHECKING:
    import pandas as pd

KEEP, REMOVE = "keep", "remove"


@dataclass(frozen=True)
class Choice:
    """The blocks that reach the threshold, most important first, and what they were chosen by.

    `table` is the importance of all measured blocks, `analysis` what it was made of.
    """

    blocks: tuple[str, ...]
    table: pd.DataFrame
    analysis: pd.DataFrame
    threshold: float
    importance: str
    temperature: float

    @property
    def text(self) -> list[str]:
        """What the numbers mean, in plain sentences."""
        return explain(self.table, self.importance, self.threshold, self.blocks)


def choose_blocks(
    lora: Source,
    threshold: float = 0.9,
    importance: str = SOFTMAX,
    temperature: float = 1.0,
    analysis: pd.DataFrame | None = None,
    compute: Compute | None = None,
) -> Choice:
    """The smallest set of blocks whose importance reaches the threshold.

    `analysis` saves measuring again; it must be of this LoRA or one with the same blocks. Raises
    LoraError for an unknown measure, a threshold outside (0, 1], and where nothing was measured.
    """
    if analysis is None:
        analysis = analyze_lora(lora, statistics="norms", compute=compute or Compute())
    try:
        table = importance_table(analysis, importance, temperature)
    except LoraError as error:
        raise LoraError(f"{analysis.attrs.get('lora', 'analysis')}: {error}") from error
    chosen = tuple(str(block) for block in up_to(table, threshold)["block"])
    return Choice(chosen, table, analysis, threshold, importance, temperature)


def top_blocks(
    lora: Source,
    choice: Choice,
    mode: str = KEEP,
    always: str = "",
    other_layers: str = KEEP,
    output: Output = Output(),  # noqa: B008 - frozen
    rest: Output | None = None,
    compute: Compute = Compute(),  # noqa: B008 - frozen
) -> tuple[Edited, Edited | None]:
    """(the LoRA with only, or without, the chosen blocks; everything else where `rest` says how).

    What `always` selects stays in any case; `other_layers` says what happens to modules and tensors
    outside any block. Blocks that could not be measured stay. Everything that stays does so to the
    bit. Raises LoraError for blocks that this LoRA lacks and where either side would be empty.
    """
    for name, value in (("mode", mode), ("other_layers", other_layers)):
        if value not in (KEEP, REMOVE):
            raise LoraError(f"{name} {value!r} is unknown; choose {KEEP} or {REMOVE}")
    if Selector.parse(always).excludes:
        raise LoraError(
            f"always {always!r}: it lists what stays, an exclusion has no meaning there"
        )
    source = Lora.of(lora)
    prefixes: dict[str, str] = {}
    outside = sorted(source.other)
    for name in source.modules:
        place = locate(name)
        if place.block and place.prefix:
            prefixes[place.block] = place.prefix
        else:
            outside.append(name)
    if missing := [block for block in choice.blocks if block not in prefixes]:
        raise LoraError(
            f"{source.name} has no block {missing[0]}: the analysis is of another LoRA; leave it "
            "out to have this one analysed"
        )
    measured = set(choice.table["block"])
    chosen = set(choice.blocks)
    stay = [
        prefix
        for block, prefix in prefixes.items()
        if block not in measured or (block in chosen) == (mode == KEEP)
    ]
    selected = [*stay, *(outside if other_layers == KEEP else []), *([always] if always else [])]
    if not selected:
        raise LoraError(f"nothing is left of {source.name}: keep other layers, or fewer blocks go")
    if rest is not None and len(stay) == len(prefixes) and (other_layers == KEEP or not outside):
        raise LoraError(
            f"all {len(stay)} blocks of {source.name} stay, so there is no rest to write; change "
            "the threshold"
        )
    return select(source, ", ".join(selected), output, rest, compute)
