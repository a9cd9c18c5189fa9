"""What an edit did: one row per module, totals, and every tensor accounted for."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import inf, isfinite, sqrt
from typing import Any, Literal

from .. import quoting
from ..naming.blocks import locate, network_order
from ..naming.selectors import compressed

MODULE_COLUMNS = (
    "module", "made of", "action", "rank before", "rank", "energy kept", "relative error",
)  # fmt: skip
LISTED = 4  # parts of a list that is shortened
LEAST = 1e-6  # a relative error that tells more than how float32 rounds


# What happened to a module; the last three are what `verify` says.
Action = Literal[
    "copied", "blended", "scaled", "truncated", "converted", "dropped",
    "extracted", "applied", "measured", "missing", "not measured",
]  # fmt: skip


@dataclass
class ModuleReport:
    """One module of the output, or one that was dropped.

    `action` is what happened. `ranks` are
    the stored ranks in the inputs, `rank` the one written. `norm` is the Frobenius norm of the
    exact update; `retained_energy` the share of its square that was kept; `relative_error` is
    ||written - exact|| / ||exact||, and `rounding` what of it is due to the dtype. `error` is
    ||written - exact|| where that was measured by itself (`verify`). `inputs` are the numbers of
    the inputs that count in what was written; `weights` and `sizes` are their weights in a blend
    and the norms of what each of them adds to it, and `strength` is what the blend was scaled by of
    itself.
    """

    module: str
    action: Action
    ranks: list[int | None]
    rank: int | None = None
    norm: float | None = None
    retained_energy: float = 1.0
    relative_error: float = 0.0
    note: str = ""
    error: float | None = None
    rounding: float = 0.0
    inputs: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    strength: float = 1.0

    @property
    def measured(self) -> bool:
        """Nothing is known of the error of a module whose meaning needs the base model."""
        return self.action != "not measured"

    @property
    def made_of(self) -> str:
        """`0.8 A + 0.6 B`: its inputs at their weights, as far as the edit has any."""
        if self.action == "dropped":
            return "-"
        terms = [
            f"{letter(i)}" if weight == 1 else f"{weight:.4g} {letter(i)}"
            for i, weight in zip(self.inputs, self.weights or [1.0] * len(self.inputs), strict=True)
        ]
        return " + ".join(terms).replace("+ -", "- ") or "-"

    @property
    def figures(self) -> tuple[str, str]:
        """Energy kept and relative error, for tables."""
        if not self.measured:
            return "-", "-"
        return f"{self.retained_energy:.2%}", f"{self.relative_error:.3g}"

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; null where there is no number."""
        result: dict[str, Any] = json_ready(asdict(self))
        if not self.measured:
            result |= {"retained_energy": None, "relative_error": None}
        return result


@dataclass(repr=False)
class Report:
    """The account of one edit, whose name is `operation`.

    `inputs` (name, bytes, SHA-256) and `settings` are those of the edit. `modules` has a row for
    each module: ranks, what was done, the error. `matched` modules are in several inputs, `only_in`
    counts those of a single one, for each input. Tensors outside modules were `carried` through or
    `dropped`, by their keys with the reason. `notes` are for the user. `output_bytes` is the size
    of the file, or of all tensors in memory, `output` is the path or None.

    >>> style, _ = core.samples()
    >>> report = core.resize(style, core.RankRule("rank", 4)).report
    >>> report.rank_summary(), round(report.relative_error, 3)
    ('4', ...)
    >>> print(report.markdown(rows=3).splitlines()[0])
    ## Resize
    """

    operation: str
    inputs: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    modules: list[ModuleReport] = field(default_factory=list)
    matched: int = 0
    only_in: list[int] = field(default_factory=list)
    carried: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    output_bytes: int = 0
    output: str | None = None

    @property
    def kept(self) -> list[ModuleReport]:
        return [row for row in self.modules if row.action != "dropped"]

    @property
    def relative_error(self) -> float:
        """Error of what is written against the exact result, all modules as one vector."""
        rows = [(row, row.norm) for row in self.kept if row.norm is not None]
        whole = sum(norm**2 for _, norm in rows)
        lost = sum(
            (row.relative_error * norm if row.error is None else row.error) ** 2
            for row, norm in rows
        )
        if whole == 0:
            return 0.0 if lost == 0 else inf
        return sqrt(lost / whole)

    @property
    def retained_energy(self) -> float:
        return max(0.0, 1.0 - self.relative_error**2)

    @property
    def automatic_strength(self) -> float | None:
        """What makes the result as large as its largest input, in Frobenius norms of whole files;
        None where nothing was blended."""
        rows = [row for row in self.kept if row.sizes and row.norm is not None]
        squares: Counter[int] = Counter()
        for row in rows:
            for index, size in zip(row.inputs, row.sizes, strict=True):
                squares[index] += size**2  # type: ignore[assignment]
        whole = sum((norm / row.strength) ** 2 for row in rows if (norm := row.norm))
        return sqrt(max(squares.values()) / whole) if len(squares) > 1 and whole > 0 else None

    def __repr__(self) -> str:
        return f"<Report of {self.operation}: {', '.join(self.headline())}>"

    def _repr_markdown_(self) -> str:
        return self.markdown(rows=10)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        result: dict[str, Any] = json_ready(asdict(self))
        return result | {
            "modules": [row.as_dict() for row in self.modules],
            "relative_error": json_ready(self.relative_error),
            "retained_energy": json_ready(self.retained_energy),
            "automatic_strength": json_ready(self.automatic_strength),
        }

    def rank_summary(self) -> str:
        counts = Counter(row.rank for row in self.kept if row.rank is not None)
        if not counts:
            return "none"
        if len(counts) == 1:
            return str(next(iter(counts)))
        return f"{min(counts)} to {max(counts)}"

    def headline(self) -> list[str]:
        """What matters most, a fact each."""
        return [
            f"{len(self.kept)} modules, rank {self.rank_summary()}",
            megabytes(self.output_bytes),
            f"relative error {self.relative_error:.3g}",
        ]

    def summary(self) -> list[str]:
        """The account in a few plain sentences."""
        actions = Counter(row.action for row in self.modules)
        lines = [
            f"{len(self.kept)} modules written, rank {self.rank_summary()}: "
            + ", ".join(f"{count} {action}" for action, count in actions.most_common())
        ]
        if len(self.only_in) == 2:
            lines.append(
                f"{self.matched} modules in both files, {self.only_in[0]} only in the first, "
                f"{self.only_in[1]} only in the second"
            )
        elif len(self.only_in) > 2:
            alone = (
                f"{sum(self.only_in)} in one alone" if any(self.only_in) else "none in one alone"
            )
            lines.append(f"{self.matched} modules in several of {len(self.only_in)} files, {alone}")
        before = sum(entry["bytes"] for entry in self.inputs)
        if self.operation == "select":  # What is left out is no error of what is kept.
            share = self.output_bytes / before if before else 1.0
            lines.append(
                f"size {megabytes(self.output_bytes)}, {share:.0%} of the file's "
                f"{megabytes(before)}; every layer that is kept is unchanged"
            )
            return lines + self._fates() + self.notes
        lines.append(
            f"size {megabytes(self.output_bytes)} (inputs {megabytes(before)}), relative error "
            f"{self.relative_error:.3g} with the rounding of what is written "
            f"(energy kept {self.retained_energy:.2%})"
        )
        return lines + self._strength() + self._fates() + self.notes

    def _fates(self) -> list[str]:
        """The tensors outside modules that were carried, and what was dropped."""
        lines = []
        for fate, entries in (("carried through", self.carried), ("dropped", self.dropped)):
            reasons: dict[str, list[str]] = {}
            for key, why in entries.items():
                reasons.setdefault(why, []).append(key)
            lines += [f"{fate}: {in_short(keys)} ({why})" for why, keys in reasons.items()]
        return lines

    def _strength(self) -> list[str]:
        """How large the result is beside its largest input, or was made."""
        automatic = self.automatic_strength
        if automatic is None:
            return []
        scaled = [row.strength for row in self.kept if row.strength != 1.0]
        if not scaled:
            size = f"{1 / automatic:.3g} times as large as its largest input"
            return [f"{size}; strength auto-file would scale it by {automatic:.3g}"]
        least, most = f"{min(scaled):.3g}", f"{max(scaled):.3g}"
        if least == most:
            return [f"scaled by {least}, to be as large as its largest input"]
        return [f"layers scaled by {least} to {most}, each to be as large as its largest input"]

    def markdown(self, rows: int = 40) -> str:
        """The account as Markdown, which reads well as it stands, too.

        A line of its table has all modules with the same fate, and what lost most comes first.
        Inputs are letters there.
        """
        weighed = len(self.inputs) > 1 or any(w != 1 for row in self.modules for w in row.weights)
        notes: dict[str, int] = {}
        groups: dict[tuple[str, ...], list[str]] = {}
        for row in sorted(self.modules, key=lambda row: -row.relative_error):
            mark = f" ({notes.setdefault(row.note, len(notes) + 1)})" if row.note else ""
            before = " + ".join("-" if rank is None else str(rank) for rank in row.ranks)
            energy, error = row.figures
            if 0 < row.relative_error < LEAST:
                error = f"below {LEAST:g}"
            if row.action == "dropped":
                energy = error = "-"
            cells = row.action + mark, before, "-" if row.rank is None else str(row.rank)
            made = (row.made_of,) * weighed
            groups.setdefault((*made, *cells, energy, error), []).append(row.module)
        shown = [(in_short(names), *cells) for cells, names in groups.items()][:rows]
        columns = [name for name in MODULE_COLUMNS if weighed or name != "made of"]
        lines = markdown_table(columns, shown)
        if rest := sum(len(names) for names in list(groups.values())[rows:]):
            lines.append(f"\n{rest} more modules with smaller errors.")
        if notes:
            lines += ["", *(f"({n}) {quoting.markdown(note)}  " for note, n in notes.items())]
        files = [f"{letter(i)} is {one['name']}" for i, one in enumerate(self.inputs)] * weighed
        bullets = [f"* {quoting.markdown(line)}" for line in [*files, *self.summary()]]
        return "\n".join([f"## {self.operation.capitalize()}", *bullets, "", *lines])


def letter(index: int) -> str:
    """A, B, ..., Z, AA, ...: what an input is called where its name is too long."""
    more, last = divmod(index, 26)
    return (letter(more - 1) if more else "") + chr(ord("A") + last)


def in_short(names: Sequence[str]) -> str:
    """Names of modules or tensors as a few words: how many there are of which blocks."""
    if len(names) <= 2:
        return " and ".join(names)
    blocks = {locate(name).block for name in names} - {None}
    parts = compressed(sorted(filter(None, blocks), key=network_order)) or list(names)
    more = ", ..." if len(parts) > LISTED else ""
    outside = sum(locate(name).block is None for name in names) if blocks else 0
    rest = f" and {outside} outside any block" if outside else ""
    return f"{len(names)} in {', '.join(parts[:LISTED])}{more}{rest}"


def json_ready(value: Any) -> Any:
    """Plain lists, dicts and numbers, with null for what JSON has no number for: NaN and Inf."""
    if isinstance(value, dict):
        return {str(key): json_ready(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not isfinite(value) else value


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table, aligned so that it reads well as plain text, too.

    `header` and each of the `rows` have a text for every column. Cells are quoted: they show what
    they hold, and mean nothing.

    >>> for line in core.markdown_table(["layer", "rank"], [["img_in", "8"]]):
    ...     print(line)
    | layer  | rank |
    | ------ | ---- |
    | img_in | 8    |
    """
    cells = [list(map(quoting.markdown, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in cells
    ]


def megabytes(size: int) -> str:
    """A `size` in bytes as text: MB are 10^6 bytes, kB 10^3.

    >>> core.megabytes(187448)
    '187.4 kB'
    """
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
