"""What all edits share: running over the targets and accounting for every tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

from ..adapters.adapter import scalar
from ..deferred import Tensor, torch
from ..errors import MismatchError, SettingError
from ..naming.catalogue import FAMILIES
from ..naming.family import UNKNOWN, Family
from ..naming.layers import Layers
from ..naming.precedence import is_read
from ..naming.spelling import Spelling, resolve, spell, standard_spelling
from ..reading.inputs import file_names
from ..reading.lora import Lora
from ..running.layout import Target
from ..running.output import Output
from ..running.report import ModuleReport, Report
from ..running.stream import Compute, stream
from ..running.writer import Writer
from ..storage.atomic import Together
from ..storage.files import StateDict


@dataclass(frozen=True)
class Edited:
    """The result of an edit: `lora` is a state dict, or the path of the file written.

    `report` is the account of it.

    >>> edited = core.convert(core.samples()[0], core.Output(spelling="kohya"))
    >>> len(edited.lora), edited.report.operation
    (...)
    """

    lora: StateDict | Path
    report: Report

    def __repr__(self) -> str:
        where = self.lora if isinstance(self.lora, Path) else "in memory"
        return f"<{self.report.operation}, {where}: {', '.join(self.report.headline())}>"

    def _repr_markdown_(self) -> str:
        return self.report.markdown(rows=10)


# One module's outcome: its row of the report and its tensors (none when it was dropped).
Outcome = tuple[ModuleReport, dict[str, Tensor]]


def raw_names(target: Target) -> list[str]:
    """What the inputs call it."""
    return [contribution.module.raw for contribution in target.contributions]


def layers_of(
    loras: Sequence[Lora], targets: Sequence[Target], others: Iterable[str] = ()
) -> Layers:
    """What selectors and block weights of an edit can mean: its targets and these other tensors."""
    names = {target.canonical: raw_names(target) for target in targets}
    files = file_names(lora.name for lora in loras)
    return Layers(names | {key: [] for key in sorted(others)}, loras[0].family, files)


def run(
    loras: list[Lora],
    targets: Sequence[Target],
    function: Callable[[Target, Compute], Outcome],
    output: Output,
    report: Report,
    compute: Compute,
    others: Iterable[str] | None = None,
    preview: bool = False,
) -> Edited:
    """Apply `function` to every target and write what it returns.

    `others` selects which tensors that belong to no module are carried (None: all). `preview` only
    reports: nothing is kept or written. Raises LoraError when nothing is left to write.
    """
    with prepared(loras, targets, function, output, report, compute, others, preview) as edited:
        return edited


@contextmanager
def prepared(
    loras: list[Lora],
    targets: Sequence[Target],
    function: Callable[[Target, Compute], Outcome],
    output: Output,
    report: Report,
    compute: Compute,
    others: Iterable[str] | None = None,
    preview: bool = False,
    together: Together | None = None,
) -> Iterator[Edited]:
    """As `run`, but the file gets its place only when the block is left, and not with an error."""
    account(loras, targets, report, others, output.spelling_for(loras[0]))
    report.notes += _kept_names(loras[0], targets, output)
    if compute.dtype != torch.float32:
        name = str(compute.dtype).removeprefix("torch.")
        report.settings = report.settings | {"compute_dtype": name}
    with Writer(output, loras, targets, report, preview, together) as writer:
        results = stream(targets, lambda t: t.canonical, function, compute, lambda t: t.file)
        grown: list[Grown] = []
        for target, (row, tensors) in zip(targets, results, strict=True):
            row.inputs = row.inputs or sorted({c.input for c in target.contributions})
            report.modules.append(row)
            writer.put(tensors)
            grown += _growth(target, tensors)
            alphas = [key for key in tensors if key.endswith(".alpha")]
            writer.alphas |= {scalar(tensors[key], key) for key in alphas}
        if not report.kept:
            raise SettingError(
                f"the {report.operation} removed every module, nothing is written",
                fix="change its weights or its selection",
                file=file_names(lora.name for lora in loras),
            )
        for key in report.carried:
            writer.put({key: owner_of(key, loras).tensors[key]})
        report.notes += faint_notes(report.kept) + grown_notes(grown)
        yield Edited(writer.finish(), report)


def owner_of(key: str, loras: Sequence[Lora]) -> Lora:
    """The first file that has this tensor outside its modules."""
    return next(lora for lora in loras if key in lora.other)


class Grown(NamedTuple):
    """A module that became so many times as large, and the kinds that it was stored in."""

    times: float
    module: str
    kinds: str


def _growth(target: Target, tensors: Mapping[str, Tensor]) -> list[Grown]:
    """Empty where a module needs about as many numbers as it did, in whatever dtype."""
    modules = [c.module for c in target.contributions]
    stored = [m.tensors.info[key].shape for m in modules for key in m.adapter.keys.values()]
    before, after = sum(map(prod, stored)), sum(tensor.numel() for tensor in tensors.values())
    if not before or after < 1.5 * before:
        return []
    kinds = sorted({(m.adapter.modified or m.adapter.kind).name for m in modules})
    return [Grown(after / before, target.canonical, " and ".join(kinds))]


def grown_notes(grown: Sequence[Grown]) -> list[str]:
    """What to say where the result cannot be as small as what it is made of."""
    if not grown:
        return []
    worst = max(grown)
    return [
        f"{len(grown)} modules are larger than before, {worst.module} {worst.times:.3g} times: no "
        f"smaller form of {worst.kinds} holds the result under this name"
    ]


def faint_notes(rows: Sequence[ModuleReport]) -> list[str]:
    """What to say where the dtype of the output keeps few digits of a module's numbers."""
    faint = [row for row in rows if row.rounding > 0.01]
    if not faint:
        return []
    worst = max(faint, key=lambda row: row.rounding)
    return [
        f"{len(faint)} modules hold numbers too small for the format that they are written in: "
        f"rounding moves {worst.module} by {worst.rounding:.2g} of its size; write bf16 or fp32"
    ]


def account(
    loras: Sequence[Lora],
    targets: Sequence[Target],
    report: Report,
    others: Iterable[str] | None,
    spelling: Spelling | None = None,
) -> None:
    """Count matches, and sort the tensors outside modules into carried and dropped.

    A reader that takes LoRA only, as the `spelling` says, refuses a file with anything else in it.
    Raises MismatchError where both inputs have a tensor that cannot be added and they differ.
    """
    chosen = None if others is None else set(others)
    inputs = [{c.input for c in target.contributions} for target in targets]
    report.matched = sum(len(found) > 1 for found in inputs)
    if len(loras) > 1 and not report.matched:
        report.notes.append("the files share no module: the result holds both, side by side")
    report.only_in = [sum(found == {i} for found in inputs) for i in range(len(loras))]
    for lora in loras:
        report.notes += lora.notes
    report.notes += _unread_names(loras, targets)
    readings = [asdict(lora.reading) for lora in loras]
    if any(any(reading.values()) for reading in readings):
        report.settings = report.settings | {"reading": readings}
    if bases := {lora.base.name for lora in loras if lora.base}:
        report.settings = report.settings | {"base": " and ".join(sorted(bases))}
    for lora in loras:
        for key, reason in lora.shadowed.items():
            report.dropped[f"{lora.name}: {key}"] = reason
        for key, reason in lora.other.items():
            if chosen is not None and key not in chosen:
                report.dropped[f"{lora.name}: {key}"] = "not selected"
            elif spelling and spelling.lora_only:
                report.dropped[f"{lora.name}: {key}"] = f"{spelling.name} takes LoRA only; {reason}"
            elif key not in report.carried:
                report.carried[key] = reason
            elif not same_bits(lora.tensors[key], owner_of(key, loras).tensors[key]):
                raise MismatchError(
                    "is in several files with different values and is not part of an adapter, so "
                    "it cannot be added",
                    fix=f"leave it out with the layers selector: -{key}",
                    file=file_names(lora.name for lora in loras),
                    tensor=key,
                )


def _kept_names(lora: Lora, targets: Sequence[Target], output: Output) -> list[str]:
    """What to say of modules that the spelling asked for has no names for.

    Raises SettingError where it has none for any of them: then nothing would be renamed.
    """
    spelling = output.spelling_for(lora)
    if spelling is None:
        return []
    notes = _tie_notes(lora, targets, spelling)
    kept = [target for target in targets if not target.is_spelled(spelling)]
    if not kept:
        return notes
    some = ", ".join(target.raw for target in kept[:5]) + (", ..." if len(kept) > 5 else "")
    if len(kept) == len(targets):
        raise SettingError(
            f"nothing was renamed: no name in the {spelling.name} spelling is known for {some}",
            fix="leave the spelling at match to keep their names, or choose another",
            file=lora.name,
        )
    return [
        f"{len(kept)} of {len(targets)} modules have no name in the {spelling.name} spelling and "
        f"were not renamed: {some}",
        *notes,
    ]


def _tie_notes(lora: Lora, targets: Sequence[Target], spelling: Spelling) -> list[str]:
    """What to say where another model that the file could be for has other names."""
    rivals: dict[str, tuple[str, str]] = {}
    for family in FAMILIES:
        if family.name in lora.recognition.others:
            style = standard_spelling(spelling.name, family)
            spelled = ((target.raw, _called_there(target, style, family)) for target in targets)
            found = next(((raw, name) for raw, name in spelled if name and name != raw), None)
            rivals |= {family.name: found} if found else {}
    if not rivals:
        return []
    (raw, name), *_ = rivals.values()
    return [
        f"the file could be for {' or '.join(rivals)} instead of {lora.family.name}, and would "
        f"need other names, such as {name} for {raw}: an entry modelspec.architecture in its "
        "metadata says which model it is for"
    ]


def _called_there(target: Target, style: Spelling, family: Family) -> str | None:
    """What the target would be called if its file were for this family."""
    module, own = target.contributions[0].module, target.name
    name = resolve(module.raw, family, module.dimensions.shape)
    if len(name.parts) == len(own.parts):
        name = name._replace(first=own.first, last=own.last)
    return spell(name.part, style, family)


def _unread_names(loras: Sequence[Lora], targets: Sequence[Target]) -> list[str]:
    """What to say about names that were made for the result and that ComfyUI does not read."""
    stored = {module.raw for lora in loras for module in lora.modules.values()}
    family = next((lora.family for lora in loras if lora.family is not UNKNOWN), UNKNOWN)
    new = [t.raw for t in targets if t.name.native and t.raw not in stored]
    unread = [raw for raw in new if not is_read(raw, family)]
    if not unread:
        return []
    return [f"ComfyUI does not read names like {unread[0]}: {len(unread)} modules of the result"]


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Equal to the bit, of whatever dtype."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    pair = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(*pair)
