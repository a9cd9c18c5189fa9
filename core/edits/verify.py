"""Verify: read a written file again and measure what it says against its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from ..algebra.update import Dense, Update, total
from ..deferred import torch
from ..errors import FileError, SettingError, one_of
from ..reading.inputs import open_together
from ..reading.lora import Lora, Source
from ..reading.readers import CALLED, COMFYUI, FOR_DIFFUSERS, READERS
from ..running.layout import Target, lay_out
from ..running.report import Action, ModuleReport, Report
from ..running.stream import Compute, stream
from .block_weights import BlockRule, parse_block_weights
from .edit import Edited, layers_of, owner_of, same_bits

MATCH, ANY = "match", "any"
READER_CHOICES = (MATCH, *READERS, ANY)
# What was read back is not what was computed: a disk, or a mistake of ours.
AGAIN = "do not use this file: run again, and report it where that does not help"


def verify(
    written: Source,
    inputs: Sequence[Source],
    weights: Sequence[float],
    block_weights: str = "",
    compute: Compute | None = None,
    reader: str = MATCH,
) -> Report:
    """The true error of a written file against the weighted sum of its inputs.

    `written` is a path, a state dict or a Lora, `inputs` a list of them, `weights` their weights
    (or one for all), `block_weights` the text that the blend had. `compute` says where and in which
    dtype (None: on the CPU, in float64). `reader` is one of READER_CHOICES, the program that the
    file is for: match is the first that finds a module of the inputs, any leaves the names aside.

    Per module ||written - exact|| / ||exact|| in the Frobenius norm, computed from the factors in
    `compute.dtype`, rounding of the output dtype and all else included; a module that the written
    file lacks, or has under a name that the reader does not find, counts with its whole norm. In
    total the same over all modules as one vector. Raises SettingError for another reader,
    MismatchError for files that do not belong together, FileError for what cannot be read.

    >>> loras = core.samples()
    >>> edited = core.blend(loras, settings=core.Blend((0.8, 0.6), "full"))
    >>> core.verify(edited.lora, loras, [0.8, 0.6]).relative_error < 1e-6
    True
    """
    compute = compute or Compute(dtype=torch.float64)
    if not inputs or len(weights) not in (1, len(inputs)):
        raise SettingError(
            f"{len(inputs)} inputs and {len(weights)} weights do not fit",
            fix="give one weight for each input, or one for all of them",
        )
    weights = list(weights) * (len(inputs) if len(weights) == 1 else 1)
    loras = open_together([Lora.of(source) for source in inputs])
    result = written if isinstance(written, Lora) else Lora(written, prefer=loras[0].family)
    one_of("reader", reader, READER_CHOICES)
    reader = reader_of(loras) if reader == MATCH else reader
    # The written file goes first: its cut of the weights is the one that is compared.
    targets = lay_out([result, *loras], None)
    layers = layers_of(loras, targets)
    rule = parse_block_weights(block_weights, layers, len(loras))
    factors = [1.0, *(-weight for weight in weights)]
    report = Report("verify", settings={"weights": list(weights)})
    report.inputs = [{"name": lora.name, "bytes": lora.file_bytes} for lora in (result, *loras)]
    report.output = str(result.tensors.path or result.name)
    report.output_bytes = result.file_bytes

    def one(target: Target, compute: Compute) -> ModuleReport:
        return _compare(target, factors, rule, compute, reader)

    report.modules = list(stream(targets, lambda t: t.canonical, one, compute, lambda t: t.file))
    report.notes = [note for lora in loras for note in lora.notes]
    lost = [row for row in report.modules if row.action == "missing"]
    unfound = [row.note for row in lost if row.note]
    if len(lost) > len(unfound):
        report.notes.append(
            f"{len(lost) - len(unfound)} modules of the inputs are not in {result.name}"
        )
    if unfound:
        report.notes.append(f"{len(unfound)} modules count as missing: {unfound[0]}")
    report.notes += [
        f"{result.name}: {key} does not count: {reason}" for key, reason in result.shadowed.items()
    ][:5]
    unknown = [row.module for row in report.modules if not row.measured]
    if unknown:
        report.notes.append(
            f"{len(unknown)} modules were not measured, for example {unknown[0]}: what they do "
            "depends on the base model"
        )
    return report


# How well float32, in which edits compute, knows a relative error.
MEASURED = 2e-6


def check(
    edited: Edited,
    inputs: Sequence[Source],
    weights: Sequence[float] = (1.0,),
    block_weights: str = "",
    compute: Compute | None = None,
) -> Report:
    """Read what an edit has just written: does it say what the edit's report says?

    Every module that the report keeps has to be there with no more than the reported error and the
    rounding of its dtype, and no other; tensors outside modules have to be the inputs' to the bit.
    Returns what was measured. Raises FileError naming the first module or tensor that is wrong.
    """
    compute = compute or Compute(dtype=torch.float64)
    loras = [Lora.of(source) for source in inputs]
    written = Lora(edited.lora, prefer=loras[0].family)
    measured = verify(written, loras, weights, block_weights, compute, ANY)
    _check_names(written, loras, edited.report.settings.get("spelling") == FOR_DIFFUSERS)
    # Names of models without a table lose the difference between dots and underscores.
    found = {row.module.replace(".", "_"): row for row in measured.modules}
    kept = {row.module.replace(".", "_"): row for row in edited.report.kept}
    # What a report leaves out counts with all of it in `measured`: here only what is written does.
    measured.modules = [row for name, row in found.items() if name in kept]
    file = measured.output or ""
    for name, row in found.items():
        if name not in kept and row.action == "measured":
            raise FileError("was written and should not be", AGAIN, file=file, module=row.module)
    for name, row in kept.items():
        limit = 1.02 * row.relative_error + MEASURED
        there = found.get(name)
        if there is None or there.action == "missing":
            raise FileError("was not written", AGAIN, file=file, module=row.module)
        if there.measured and not (
            there.relative_error <= limit
            or (there.error or 0.0) <= MEASURED * _magnitude(loras, name, compute)
        ):
            raise FileError(
                f"was written with a relative error of {there.relative_error:.3g}, which should be "
                f"{limit:.3g} at most",
                fix="write fp32 if its numbers are very small or large",
                file=file,
                module=row.module,
            )
    for key in edited.report.carried:
        owner = owner_of(key, loras)
        if key not in written.tensors.info or not same_bits(
            written.tensors[key], owner.tensors[key]
        ):
            problem = f"was not written as it is in {owner.name}"
            raise FileError(problem, AGAIN, file=file, tensor=key)
    return measured


def _check_names(written: Lora, loras: Sequence[Lora], for_diffusers: bool) -> None:
    """Raises FileError for a module that its reader overwrites, or no longer finds.

    What the reader did not find in the inputs either is not lost.
    """
    for key, reason in written.shadowed.items():
        raise FileError(f"does not count: {reason}", AGAIN, file=written.name, tensor=key)
    reader = FOR_DIFFUSERS if for_diffusers else reader_of(loras)
    before = [module for lora in loras for module in lora.modules.values()]
    found = {module.identity for module in before if module.found_by(reader)}
    for name, module in written.modules.items():
        if not module.found_by(reader) and (for_diffusers or module.identity in found):
            raise FileError(
                f"was written as {module.raw}, which {CALLED[reader]} does not read",
                fix="choose another spelling, or leave it out with the layers selector",
                file=written.name,
                module=name,
            )


def _magnitude(loras: Sequence[Lora], name: str, compute: Compute) -> float:
    """The norms of a module's updates in all files: rounding is of this size where they cancel."""
    modules = [m for lora in loras for m in lora.modules.values()]
    found = [m for m in modules if m.canonical.replace(".", "_") == name]
    return sum(m.update(compute.device, compute.dtype).frobenius_norm() for m in found)


def reader_of(loras: Sequence[Lora]) -> str:
    """The first reader that finds a module of these files: what they were made for."""
    modules = [module for lora in loras for module in lora.modules.values()]
    found = (reader for reader in READERS if any(m.found_by(reader) for m in modules))
    return next(found, COMFYUI)


def _compare(
    target: Target, factors: list[float], rule: BlockRule, compute: Compute, reader: str
) -> ModuleReport:
    multipliers = rule(target.canonical, [c.module.raw for c in target.contributions])
    difference, exact = [], []
    rank, note = None, ""
    for c in target.contributions:
        if c.input == 0 and reader != ANY and not c.module.found_by(reader):
            note = f"{CALLED[reader]} does not read {c.module.raw}"
            if not c.module.known:
                return ModuleReport(target.canonical, "missing", [], relative_error=1.0, note=note)
        if not c.module.known:
            note = f"{c.module.adapter.kind.name}: {c.module.adapter.kind.needs_base}"
            return ModuleReport(target.canonical, "not measured", [], note=note)
    updates = target.updates(compute.device, compute.dtype)
    for c, update in zip(target.contributions, updates, strict=True):
        factor = factors[c.input] * (multipliers[c.input - 1] if c.input else 1.0)
        term = update.scaled(factor)
        if c.input == 0 and note:
            continue
        difference.append(term)
        if c.input:
            exact.append(term)
        else:
            rank = c.module.rank
    norm, error = norm_of(exact), norm_of(difference)
    there = any(c.input == 0 for c in target.contributions) and not note
    action: Action = "measured" if there else "missing"
    # An update that should be zero and is not is infinitely wrong.
    relative = error / norm if norm > 0 else (0.0 if error == 0 else float("inf"))
    ranks = [c.module.rank for c in target.contributions if c.input]
    kept = max(0.0, 1.0 - relative**2)
    return ModuleReport(
        target.canonical, action, ranks, rank, norm, kept, relative, note, error=error
    )


def norm_of(terms: list[Update]) -> float:
    """The Frobenius norm of a sum, also where the terms all but cancel.

    The triangles of both factors in float64 give the norm of their product without the squares of
    Gram matrices, whose rounding would hide anything below 1e-8 of the terms.
    """
    if not terms:
        return 0.0
    update = total(terms)
    if isinstance(update, Dense):
        return float(torch.linalg.vector_norm(update.values))
    r_up = torch.linalg.qr(update.up.double(), mode="r").R
    r_down = torch.linalg.qr(update.down.T.double(), mode="r").R
    return sqrt(float((r_up @ r_down.T).square().sum()))
