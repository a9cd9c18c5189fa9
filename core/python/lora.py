"""A LoRA to work with in Python: its edits are methods, and give the next one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import reading
from ..algebra.rank_rules import FULL, RankRule
from ..edits.blend import blend
from ..edits.blend_settings import Blend
from ..edits.convert import convert
from ..edits.edit import Edited
from ..edits.resize import resize
from ..edits.save import save
from ..edits.select import select
from ..errors import SettingError
from ..insight.analysis import analyze_lora
from ..insight.info import blocks_of, overview, summary
from ..reading.lora import Source
from ..running.metadata import Wishes
from ..running.output import Output
from ..running.report import Report, megabytes
from .html import bars, fact_list

if TYPE_CHECKING:
    import pandas as pd


class Lora(reading.lora.Lora):
    """A LoRA file or state dict, read lazily; every edit is a method and gives a new one.

    `source` is a path or a dict of tensors. `prefer` is the family where names leave that open,
    `reading` how the file is read where there is a choice, `base` the model that kinds such as
    DoRA need. Nothing is written until `save`; `report` is the account of the edit that made it,
    None for a file. Notebooks show it as a table with the blocks.

    `modules` maps canonical names to modules in the file's order. `other` maps the keys of tensors
    that belong to no module to the reason; they are carried through edits. `shadowed` does so for
    tensors that do not count, for the most part because others of the same module take their place
    in ComfyUI; edits drop them. `notes` says what a user should know. Raises FileError where there
    is no adapter in it, MismatchError where it is for another base.

    >>> style, character = map(core.Lora, core.samples())
    >>> both = style.blend(character, weights=(0.8, 0.6)).resize(rank=8)
    >>> both
    <Lora 'blend of style_diffusers, character_kohya, resized': Flux, 50 LoRA modules, ...>
    >>> both.save("both.safetensors").name
    'both.safetensors'
    """

    report: Report | None = None

    def blend(
        self,
        *others: Source,
        weights: Sequence[float] = (1.0,),
        rank: int | str = FULL,
        **settings: Any,
    ) -> Lora:
        """The weighted sum of this and `others`: `core.blend`, whose `settings` are Blend's.

        >>> style, character = map(core.Lora, core.samples())
        >>> style.blend(character, weights=(1, 0.5), method="ties").report.operation
        'blend'
        """
        asked = Blend(tuple(weights), rank, **settings)
        names = ", ".join(str(Path(Lora.of(one).name).stem) for one in (self, *others))
        return _made(blend([self, *others], settings=asked), f"blend of {names}", self)

    def resize(self, layers: str = "", **rule: float | str) -> Lora:
        """At lower ranks: `core.resize`. One `rule` says how many: rank, energy, megabytes, ...

        >>> core.Lora(core.samples()[0]).resize(energy=0.95).report.retained_energy > 0.94
        True
        """
        limits = {name: rule.pop(name) for name in ("min_rank", "max_rank") if name in rule}
        if len(rule) != 1:
            raise SettingError("give one rule for the ranks", fix="such as rank=8 or energy=0.95")
        ((name, value),) = rule.items()
        asked = RankRule(str(value)) if isinstance(value, str) else RankRule(name, value)
        asked = RankRule(asked.name, asked.value, **limits)  # type: ignore[arg-type]
        return _made(resize(self, asked, layers), f"{Path(self.name).stem}, resized", self)

    def select(self, layers: str) -> Lora:
        """Only some layers, untouched: `core.select`.

        >>> len(core.Lora(core.samples()[0]).select("double_blocks").modules)
        20
        """
        return _made(select(self, layers)[0], f"{layers} of {Path(self.name).stem}", self)

    def convert(self, spelling: str = "match", dtype: str = "match") -> Lora:
        """In other names or another dtype: `core.convert`.

        >>> core.Lora(core.samples()[0]).convert("kohya").spelling.name
        'kohya'
        """
        edited = convert(self, Output(spelling=spelling, dtype=dtype))
        return _made(edited, f"{Path(self.name).stem}, converted", self)

    def save(
        self, path: str | os.PathLike[str], dtype: str = "match", replace: bool = True,
        **metadata: str,
    ) -> Path:  # fmt: skip
        """Write it to a `path`, in a `dtype`, with more `metadata`; returns the path.

        >>> core.Lora(core.samples()[0]).save("mine.safetensors", title="mine").name
        'mine.safetensors'
        """
        wishes = Wishes(set=tuple(metadata.items()))
        return save(self, path, dtype, wishes=wishes, replace=replace)

    @property
    def table(self) -> pd.DataFrame:
        """The modules as a DataFrame: what their headers say; nothing is computed.

        >>> core.Lora(core.samples()[1]).table["rank"].max()
        16
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "module": name,
                    "kind": module.adapter.kind.name,
                    "rank": module.rank,
                    "out": module.out_features,
                    "in": module.in_features,
                    "dtype": module.info.dtype_name,
                    "bytes": module.bytes,
                    "stored_as": module.raw,
                }
                for name, module in self.modules.items()
            ]
        )

    def analyze(self, statistics: str = "spectral") -> pd.DataFrame:
        """What every module does: `core.analyze_lora`.

        >>> core.Lora(core.samples()[1]).analyze("energy")["dW.energy_share"].sum().round(6)
        1.0
        """
        return analyze_lora(self, statistics=statistics)

    def __repr__(self) -> str:
        row = overview(self)
        ranks = {module.rank for module in self.modules.values()}
        rank = f"rank {row['rank']}" if len(ranks) == 1 else f"ranks to {row['rank']}"
        return (
            f"<Lora {self.name!r}: {row['family']}, {row['modules']} {row['kind']} modules, "
            f"{rank}, {megabytes(row['bytes'])}>"
        )

    def _repr_html_(self) -> str:
        lines: list[tuple[str, ...]] = [text.partition(": ")[::2] for text in summary(self)]
        if self.report is not None:
            lines.append(("made by", ", ".join(self.report.headline())))
        sizes = [(block, size, megabytes(size)) for block, _, _, size in blocks_of(self)]
        return fact_list(lines) + bars(sizes)


def _made(edited: Edited, name: str, source: Lora) -> Lora:
    """What an edit made, in memory, under a name that says so."""
    assert not isinstance(edited.lora, Path)
    edited.lora.name = name
    lora = Lora(edited.lora, source.family, base=source.base)
    lora.report = edited.report
    return lora
