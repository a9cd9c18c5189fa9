"""The few blocks in which most of a LoRA sits, and what they were chosen by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..naming.blocks import locate
from ..reading.lora import Source
from ..running.stream import Compute
from .analysis import analyze_lora
from .importance import SOFTMAX, explain, importance_table, up_to

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Choice:
    """The `blocks` that reach the `threshold`, most important first, and what they were chosen by.

    `table` is the importance of all measured blocks, `analysis` what it was made of; `importance`
    and `temperature` say how they were weighed.

    >>> choice = core.choose_blocks(core.samples()[1], 0.5, "energy")
    >>> choice.blocks, choice.selector
    (('double_blocks.1', 'double_blocks.0', 'single_blocks.0'), ...)
    """

    blocks: tuple[str, ...]
    table: pd.DataFrame
    analysis: pd.DataFrame
    threshold: float
    importance: str
    temperature: float

    @property
    def measured(self) -> Collection[str]:
        return set(self.table["block"])

    @property
    def selector(self) -> str:
        """The blocks as a selector of layers, most important first."""
        places = map(locate, self.analysis["module"])
        spelled = {place.block: place.prefix for place in places}
        return ", ".join(spelled[block] or block for block in self.blocks)

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
    """The smallest set of blocks whose importance reaches the `threshold`.

    `lora` is a path, a state dict or a Lora. `importance` is softmax (of the layers' spectral norms
    over `temperature`) or energy. `analysis` saves measuring again; it must be of this LoRA or one
    with the same blocks. `compute` says where and how to measure. Raises SettingError for an
    unknown importance and a threshold outside (0, 1], FileError where nothing was measured.

    >>> core.choose_blocks(core.samples()[1], 0.8, "energy").blocks
    ('double_blocks.1', 'double_blocks.0', 'single_blocks.0', 'single_blocks.2')
    """
    if analysis is None:
        analysis = analyze_lora(lora, statistics="norms", compute=compute or Compute())
    table = importance_table(analysis, importance, temperature)
    chosen = tuple(str(block) for block in up_to(table, threshold)["block"])
    return Choice(chosen, table, analysis, threshold, importance, temperature)
