"""The few blocks in which most of a LoRA sits, and what they were chosen by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import MismatchError
from ..naming.blocks import locate, network_order
from ..naming.selectors import compressed
from ..reading.lora import Lora, Source
from ..running.stream import Compute
from .analysis import analyze_lora
from .importance import ENERGY, FROBENIUS_NORM, SOFTMAX, explain, importance_table, up_to

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
        """The blocks as a selector of layers, in the network's order."""
        places = map(locate, self.analysis["module"])
        spelled = {place.block: place.prefix for place in places}
        ordered = sorted(self.blocks, key=network_order)
        return ", ".join(compressed(spelled[block] or block for block in ordered))

    @property
    def text(self) -> list[str]:
        """What the numbers mean, in plain sentences."""
        return explain(self.table, self.importance, self.threshold, self.blocks)


def choose_blocks(
    lora: Source,
    threshold: float = 0.9,
    importance: str = ENERGY,
    temperature: float = 1.0,
    analysis: pd.DataFrame | None = None,
    compute: Compute | None = None,
) -> Choice:
    """The smallest set of blocks whose importance reaches the `threshold`.

    `lora` is a path, a state dict or a Lora. `importance` is energy, relative (energy of the norms
    relative to the base model that the Lora was opened with) or softmax (of the layers' spectral
    norms over `temperature`). `analysis` saves measuring again; it must be of all layers of this
    LoRA. `compute` says where and how to measure. Raises SettingError for an unknown importance and
    a threshold outside (0, 1], MismatchError for an analysis of another LoRA, FileError where
    nothing was measured.

    >>> core.choose_blocks(core.samples()[1], 0.8, "energy").blocks
    ('double_blocks.1', 'double_blocks.0', 'single_blocks.0', 'single_blocks.2')
    """
    compute = compute or Compute()
    if analysis is None:
        level = "norms" if importance == SOFTMAX else "energy"
        analysis = analyze_lora(lora, statistics=level, compute=compute)
    else:
        _check_same(Lora.of(lora), analysis, compute)
    table = importance_table(analysis, importance, temperature)
    chosen = tuple(str(block) for block in up_to(table, threshold)["block"])
    return Choice(chosen, table, analysis, threshold, importance, temperature)


PROBES = 8  # modules whose norms are compared


def _check_same(lora: Lora, analysis: pd.DataFrame, compute: Compute) -> None:
    """Raises MismatchError where the table is not one of all layers of this LoRA.

    LoRAs for one model have the same layers, so some of the norms are measured again.
    """
    modules = lora.modules
    strange = [name for name in analysis["module"] if name not in modules]
    if strange or len(analysis) < len(modules):
        raise MismatchError(
            f"the analysis has {len(analysis) - len(strange)} of its {len(modules)} layers"
            + (f" and others, such as {strange[0]}" if strange else "")
            + ": it is of another LoRA or of a part of this one",
            fix="leave it out, or analyse all layers of this one",
            file=lora.name,
        )
    norms = dict(zip(analysis["module"], analysis[FROBENIUS_NORM], strict=True))
    known = [name for name, norm in norms.items() if norm == norm]
    for name in known[:: -(-len(known) // PROBES)] if known else []:
        norm = modules[name].update(compute.device, compute.dtype).frobenius_norm()
        if abs(norm - norms[name]) > 1e-3 * max(norm, norms[name]):
            raise MismatchError(
                f"the analysis is of another LoRA: there the layer has the size "
                f"{norms[name]:.4g}, here {norm:.4g}",
                fix="leave it out, or analyse this one",
                file=lora.name,
                module=name,
            )
