"""Select: keep the modules that a selector names; the rest is available too."""

from .convert import converted
from .edit import Edited, Outcome, copy, run
from .errors import LoraError
from .layout import Target, lay_out
from .lora import Lora, Source
from .output import Output
from .report import Report
from .selectors import Selector
from .stream import Compute


def select(
    lora: Source,
    layers: str,
    output: Output = Output(),  # noqa: B008 - frozen
    rest: Output | None = None,
    compute: Compute = Compute(),  # noqa: B008 - frozen
) -> tuple[Edited, Edited | None]:
    """(the selected modules, all others) as they stand, to the bit.

    The second is made where `rest` says how. Tensors outside modules can be selected by their keys.
    Raises LoraError when either side would be empty.
    """
    source = Lora(lora)
    targets = lay_out([source], output.spelling_for(source))
    names = [target.canonical for target in targets] + sorted(source.other)
    chosen = Selector.parse(layers).select(names)
    everything = set(names)
    kept = _part(source, targets, chosen, layers, output, compute)
    if rest is None:
        return kept, None
    return kept, _part(source, targets, everything - chosen, f"rest of {layers}", rest, compute)


def _part(
    source: Lora,
    targets: list[Target],
    names: set[str],
    layers: str,
    output: Output,
    compute: Compute,
) -> Edited:
    report = Report("select", settings={"layers": layers})
    report.dropped |= {t.canonical: "not selected" for t in targets if t.canonical not in names}
    chosen = [target for target in targets if target.canonical in names]
    if not chosen:
        raise LoraError(f"selector {layers!r} leaves no module of {source.name}; widen it")
    dtype = output.dtype_for(source)
    same = dtype if output.dtype != "match" else None

    def one(target: Target) -> Outcome:
        return copy(target, same) or converted(target, dtype, compute)

    return run([source], chosen, one, output, report, compute, names & set(source.other))
