"""Select: keep the modules that a selector names; the rest is available too."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from ..errors import EmptyRest, FileError, SettingError
from ..reading.lora import Lora, Source
from ..running.layout import Target, lay_out
from ..running.output import Output
from ..running.report import Report
from ..running.stream import Compute
from ..storage.atomic import Together, same_file
from ..storage.sinks import FileSink
from .edit import Edited, Outcome, layers_of, prepared
from .unchanged import unchanged


def select(
    lora: Source,
    layers: str,
    output: Output = Output(),  # noqa: B008 - frozen
    rest: Output | None = None,
    compute: Compute | None = None,
) -> tuple[Edited, Edited | None]:
    """(the selected modules, all others) as they stand, to the bit.

    `lora` is a path, a state dict or a Lora. `layers` is a selector: patterns separated by commas,
    where a leading minus excludes; tensors outside modules can be selected by their keys. `output`
    says where the selected ones go, `rest` where all others do; where it is None there is no second
    part, and None is returned for it. `compute` tells progress and is asked for `cancelled`.

    Raises EmptyRest or another SettingError when either side would be empty or a pattern matches
    nothing, FileError for what cannot be read or written; both files are written, or neither is.

    >>> _, character = core.samples()
    >>> kept, others = core.select(character, "double_blocks, -*mod*", rest=core.Output())
    >>> len(kept.report.modules) + len(others.report.modules)
    28
    """
    compute = compute or Compute()
    source = Lora.of(lora)
    targets = lay_out([source], output.spelling_for(source))
    known = layers_of([source], targets, source.other)
    chosen = known.selected(layers)
    return divide(source, targets, chosen, layers, output, rest, compute, known.notes)


def names_of(source: Lora, targets: list[Target]) -> list[str]:
    """Everything that can be selected."""
    return [target.canonical for target in targets] + sorted(source.other)


def divide(
    source: Lora,
    targets: list[Target],
    chosen: set[str],
    layers: str,
    output: Output,
    rest: Output | None,
    compute: Compute,
    notes: Sequence[str] = (),
) -> tuple[Edited, Edited | None]:
    """(what has these names, everything else), as `select`; `layers` says in words what they are.

    Names are text of the file's: none of them is ever read as a pattern.
    """
    others = set(names_of(source, targets)) - chosen
    if not any(target.canonical in chosen for target in targets):
        raise SettingError(
            f"selector {layers!r} leaves no module", fix="widen it", file=source.name
        )
    if rest is None:
        with _part(source, targets, chosen, layers, output, compute, notes=notes) as kept:
            return kept, None
    if not any(target.canonical in others for target in targets):
        raise EmptyRest(
            f"selector {layers!r} takes every module, so there is no rest to write",
            fix="leave layers out",
            file=source.name,
        )
    _check_rest(source, output, rest)
    together = Together()
    part = _part(source, targets, chosen, layers, output, compute, notes=notes, together=together)
    # Neither file gets its place before both are complete, and neither keeps it without the other.
    other_part = _part(source, targets, others, layers, rest, compute, "rest", together=together)
    with together, part as kept, other_part as remaining:
        return kept, remaining


def _check_rest(source: Lora, output: Output, rest: Output) -> None:
    """Raises LoraError where the second part cannot be written, before the first one is."""
    if rest.path is None:
        return
    rest.check([source])
    if output.path is not None and same_file(output.path, rest.path):
        raise FileError(
            "both parts would be this file",
            fix="choose another for the rest",
            file=str(rest.path),
        )
    with FileSink(rest.path, replace=rest.replace):
        pass  # It can be begun there, which is all that can be known now.


def _part(
    source: Lora,
    targets: list[Target],
    names: set[str],
    layers: str,
    output: Output,
    compute: Compute,
    part: str = "",
    notes: Sequence[str] = (),
    together: Together | None = None,
) -> AbstractContextManager[Edited]:
    recipe = {"layers": layers} | output.recipe()
    recipe |= {"part": part} if part else {}
    report = Report("select", settings=recipe, notes=list(notes))
    report.dropped |= {t.canonical: "not selected" for t in targets if t.canonical not in names}
    chosen = [target for target in targets if target.canonical in names]
    dtype = output.dtype_for(source)
    cast = output.dtype != "match"

    def one(target: Target, compute: Compute) -> Outcome:
        return unchanged(target, dtype, compute, cast, with_norm=False)

    kept = names & set(source.other)
    return prepared([source], chosen, one, output, report, compute, kept, together=together)
