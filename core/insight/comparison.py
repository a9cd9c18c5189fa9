"""Do these LoRAs fight? Files held against each other, module by module, exactly from the factors.

`meetings` has the sums over modules, `comparison_words` the sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import nan
from typing import TYPE_CHECKING, Any

from ..algebra.cached import cached_property
from ..algebra.common_space import FOR_FIGURES, CommonSpace
from ..algebra.low_rank import TILE_ELEMENTS, LowRank
from ..algebra.update import Dense, Update, inner, total
from ..deferred import Tensor, torch
from ..errors import SettingError, one_of
from ..naming.blocks import locate, network_order
from ..naming.layers import Layers
from ..reading.inputs import check_families, file_names, open_together
from ..reading.lora import Lora, Source
from ..running.layout import Target, lay_out
from ..running.stream import Compute, stream
from .compare import Overlap, overlap, principal_angles, suggested_weights
from .comparison_words import sentences
from .meetings import SHARES, Meeting, Pair, parts_of

if TYPE_CHECKING:
    import pandas as pd

FILE, BLOCK = "file", "block"
SUGGESTIONS = (FILE, BLOCK)


@dataclass(frozen=True)
class Comparison:
    """What compare found. Files are called by `letters` in tables and sentences.

    `names` are the files', `counts` the numbers of their modules, `notes` what to know of them.
    `pairs` holds what every two have in common, `grams` the inner products [n, n] of all files per
    module, in float64. `modules`, `blocks` and `total` are tables with a row for each pair (and
    module or block), `files` has one for each file, `cosines` is the matrix of all pairs.
    `not_measured` maps modules to reasons.

    >>> found = core.compare(core.samples())
    >>> found.letters, found.names
    (['A', 'B'], ['style_diffusers.safetensors', 'character_kohya.safetensors'])
    """

    names: list[str]
    pairs: list[Pair]
    grams: dict[str, Tensor]
    counts: list[int]
    notes: list[str] = field(default_factory=list)
    not_measured: dict[str, str] = field(default_factory=dict)

    @property
    def letters(self) -> list[str]:
        """A, B, C ..., beyond Z numbers."""
        few = len(self.names) <= 26
        return [chr(65 + i) if few else f"F{i + 1}" for i in range(len(self.names))]

    @cached_property
    def gram(self) -> Tensor:
        """The inner products of whole files."""
        size = len(self.names)
        return sum(self.grams.values(), torch.zeros(size, size, dtype=torch.float64))

    def _row(self, pair: Pair, **place: Any) -> dict[str, Any]:
        letters = self.letters
        return {"first": letters[pair.first], "second": letters[pair.second], **place} | (
            pair.figures
        )

    @cached_property
    def modules(self) -> pd.DataFrame:
        """A row for each pair and module that one of the two has; `in_file` says which."""
        import pandas as pd

        rows = []
        for pair in self.pairs:
            for m in pair.meetings:
                there = {(True, True): "both", (True, False): self.letters[pair.first]}
                place = {
                    "module": m.module,
                    "block": locate(m.module).block,
                    "in_file": there.get(m.has, self.letters[pair.second]),
                }
                rows.append(self._row(replace(pair, meetings=[m]), **place))
        return pd.DataFrame(rows)

    @cached_property
    def blocks(self) -> pd.DataFrame:
        """A row for each pair and block in the network's order, the last for what is in none."""
        import pandas as pd

        rows = []
        for pair in self.pairs:
            for block, part in parts_of(pair, lambda name: locate(name).block):
                rows.append(self._row(part, block=block, modules=len(part.common.meetings)))
        return pd.DataFrame(rows)

    @cached_property
    def total(self) -> pd.DataFrame:
        """A row for each pair: `modules` that both have, and those that only one has."""
        import pandas as pd

        rows = []
        for pair in self.pairs:
            has = [m.has for m in pair.meetings]
            counts = {
                "modules": has.count((True, True)),
                "only_first": has.count((True, False)),
                "only_second": has.count((False, True)),
            }
            rows.append(self._row(pair, **counts))
        return pd.DataFrame(rows)

    @cached_property
    def files(self) -> pd.DataFrame:
        """Per file: modules, norm, and the modules and share of the energy that no other has."""
        import pandas as pd

        rows = []
        norms = self.gram.diagonal().clamp_min(0)
        for i, name in enumerate(self.names):
            alone = [
                float(gram[i, i])
                for gram in self.grams.values()
                if gram[i, i] > 0 and int((gram.diagonal() > 0).sum()) == 1
            ]
            rows.append(
                {
                    "letter": self.letters[i],
                    "file": name,
                    "modules": self.counts[i],
                    "norm": float(norms[i].sqrt()),
                    "only_modules": len(alone),
                    "only_energy": sum(alone) / float(norms[i]) if norms[i] > 0 else 0.0,
                }
            )
        return pd.DataFrame(rows)

    @property
    def cosines(self) -> pd.DataFrame:
        """Of all pairs of files; 0 beside a zero one."""
        import pandas as pd

        return pd.DataFrame(cosines_of(self.gram).numpy(), self.letters, self.letters)

    def suggest(self, levels: Sequence[float] = (1.0,), by: str = FILE) -> dict[str, list[float]]:
        """Weights under which each file keeps its own effect at the asked level.

        One level for each file or one for all. {"*": weights} for whole files; by block a line for
        each block after it, "*" then being what is in none. Fit for `block_weights`.
        """
        one_of("suggest", by, SUGGESTIONS)
        if len(levels) not in (1, len(self.names)):
            raise SettingError(
                f"{len(levels)} levels for {len(self.names)} LoRAs",
                fix="give one for each, or one for all of them",
            )
        asked = list(levels) * (len(self.names) if len(levels) == 1 else 1)
        grams = {"*": torch.zeros_like(self.gram)}
        names = sorted(self.grams, key=_network_order)
        for name in names:
            pattern = (locate(name).prefix if by == BLOCK else None) or "*"
            grams[pattern] = grams.get(pattern, 0) + self.grams[name]
        return {pattern: suggested_weights(gram, asked) for pattern, gram in grams.items()}

    @property
    def text(self) -> list[str]:
        """What it means, in plain sentences."""
        return sentences(self.pairs, self.letters)


def block_weights(weights: dict[str, list[float]]) -> list[str]:
    """Suggested `weights`, {pattern: one for each file}, as lines of block weights.

    >>> core.block_weights({"double_blocks.0": [0.5, 1.25]})
    ['double_blocks.0: 0.5, 1.25']
    """
    return [
        f"{pattern}: {', '.join(f'{number:.3g}' for number in numbers)}"
        for pattern, numbers in weights.items()
    ]


def cosines_of(gram: Tensor) -> Tensor:
    """[n, n] of inner products [n, n]; 0 beside a zero one."""
    sizes = gram.diagonal().clamp_min(0).sqrt()
    sizes = torch.where(sizes > 0, sizes, 1.0)
    return (gram / sizes / sizes[:, None]).clamp(-1, 1)


def _network_order(module: str) -> Any:
    block = locate(module).block
    return block is None, network_order(block or "")


def compare(
    loras: Sequence[Source],
    layers: str = "",
    full: bool = False,
    compute: Compute | None = None,
) -> Comparison:
    """Two or more files against each other, exact from the factors.

    `loras` are paths, state dicts or Loras. `layers` selects modules; `full` also counts the
    entries in which signs differ, which multiplies every module out in tiles. `compute` says where
    and how precisely. Modules whose change needs the base model are not measured. Raises
    MismatchError for files of different models, SettingError for fewer than two.

    >>> style, character = core.samples()
    >>> found = core.compare([style, style])
    >>> round(found.pairs[0].overlap.cosine, 6)
    1.0
    """
    compute = compute or Compute()
    if len(loras) < 2:
        raise SettingError(f"{len(loras)} LoRAs to compare", fix="give two or more")
    if compute.device.type == "mps":
        compute = replace(compute, device=torch.device("cpu"))  # Apple's GPUs have no float64.
    inputs = open_together([Lora.of(source) for source in loras])
    check_families(inputs)
    targets = lay_out(inputs, None)
    files = file_names(lora.name for lora in inputs)
    names = {t.canonical: [c.module.raw for c in t.contributions] for t in targets}
    chosen = Layers(names, inputs[0].family, files).selected(layers)
    targets = [target for target in targets if target.canonical in chosen]
    numbers = range(len(inputs))

    def one(target: Target, compute: Compute) -> tuple[Tensor, dict[tuple[int, int], Meeting]]:
        return _measured(target, len(inputs), full, compute)

    unknown = {t.canonical: reason for t in targets if (reason := _needs_base(t))}
    targets = [target for target in targets if target.canonical not in unknown]
    grams: dict[str, Tensor] = {}
    meetings: dict[tuple[int, int], list[Meeting]] = {p: [] for p in combinations(numbers, 2)}
    results = stream(targets, lambda t: t.canonical, one, compute, lambda t: t.file)
    for target, (gram, found) in zip(targets, results, strict=True):
        grams[target.canonical] = gram
        for numbers_of_two, meeting in found.items():
            meetings[numbers_of_two].append(meeting)
    notes = list(dict.fromkeys(note for lora in inputs for note in lora.notes))
    if unknown:
        notes.append(f"{len(unknown)} modules were not measured: {next(iter(unknown.values()))}")
    return Comparison(
        [lora.name for lora in inputs],
        [Pair(*two, found) for two, found in meetings.items()],
        grams,
        [
            len({id(c.module) for t in targets for c in t.contributions if c.input == i})
            for i in numbers
        ],
        notes,
        unknown,
    )


def _needs_base(target: Target) -> str:
    for c in target.contributions:
        kind = c.module.adapter.kind
        if not c.module.known:
            return f"{kind.name}: {kind.needs_base}"
    return ""


def _measured(
    target: Target, count: int, full: bool, compute: Compute
) -> tuple[Tensor, dict[tuple[int, int], Meeting]]:
    """The inner products of all files in a module, and how each two of them meet in it."""
    terms: dict[int, list[Update]] = {}
    updates = target.updates(compute.device, compute.dtype)
    for c, update in zip(target.contributions, updates, strict=True):
        # A vector is thin: its space is known, too.
        if isinstance(update, Dense) and update.matrix.shape[1] == 1:
            update = update.low_rank()
        terms.setdefault(c.input, []).append(update)
    whole = {index: total(parts) for index, parts in terms.items()}
    thin = {index: update for index, update in whole.items() if isinstance(update, LowRank)}
    place = {index: at for at, index in enumerate(thin)}
    space = CommonSpace(list(thin.values()), nearly=FOR_FIGURES) if thin else None
    gram = torch.zeros(count, count, dtype=torch.float64)
    for i, j in _with_itself(sorted(whole)):
        if space is not None and i in thin and j in thin:
            gram[i, j] = gram[j, i] = space.inner[place[i], place[j]]
        else:
            gram[i, j] = gram[j, i] = inner(whole[i], whole[j])
    meetings = {}
    for i, j in combinations(range(count), 2):
        has = (i in whole, j in whole)
        if not any(has):
            continue
        sums = Overlap(float(gram[i, i]), float(gram[j, j]), float(gram[i, j]))
        meeting = Meeting(target.canonical, sums, has)
        if all(has):
            if space is not None and i in thin and j in thin:
                meeting = _met(meeting, space, place[i], place[j])
            else:
                unknown = replace(sums, **dict.fromkeys(SHARES, nan))
                meeting = replace(meeting, overlap=unknown)
            if full:
                opposed, entries = sign_conflict(whole[i], whole[j])
                meeting = replace(meeting, opposed=opposed, entries=entries)
        meetings[i, j] = meeting
    return gram, meetings


def _with_itself(numbers: Sequence[int]) -> Iterable[tuple[int, int]]:
    return ((i, j) for at, i in enumerate(numbers) for j in numbers[at:])


def _met(meeting: Meeting, space: CommonSpace, i: int, j: int) -> Meeting:
    """With what the common space knows of the two."""
    a, b = space.directions[i], space.directions[j]
    found = overlap(space, i, j)
    columns, rows = principal_angles(a, b)
    least = min(space.factors.matrix_shape)
    return replace(
        meeting,
        overlap=found,
        angles=(min(columns, default=nan), min(rows, default=nan)),
        by_chance=(found.first * b.rank / least, found.second * a.rank / least),
    )


def sign_conflict(one: Update, other: Update) -> tuple[int, int]:
    """(entries in which two updates have different signs, entries), in tiles of rows."""
    opposed = entries = 0
    for a, b in zip(_tiles(one), _tiles(other), strict=True):
        opposed += int((a.sign() * b.sign() < 0).sum())
        entries += a.numel()
    return opposed, entries


def _tiles(update: Update) -> Iterator[Tensor]:
    if isinstance(update, LowRank):
        yield from update.tiles()
        return
    matrix = update.matrix
    height = max(1, TILE_ELEMENTS // max(1, matrix.shape[1]))
    yield from (matrix[start : start + height] for start in range(0, len(matrix), height))
