"""Extract: what a fine-tune changed in its base model, as a LoRA."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import sqrt

from ..algebra.rank_rules import RankRule
from ..algebra.update import Dense, total
from ..deferred import torch
from ..errors import FileError, MismatchError, SettingError, one_of
from ..naming.spelling import KOHYA, standard_spelling
from ..reading.base_model import BaseModel
from ..reading.difference import SAME, Difference
from ..reading.inputs import file_names
from ..reading.lora import Lora
from ..running.encoding import encode
from ..running.layout import Target, lay_out
from ..running.output import MATCHED, OUTPUT_DTYPES, Output
from ..running.report import ModuleReport, Report
from ..running.stream import Compute
from ..storage.atomic import same_file
from ..storage.files import Stored
from .blend_settings import rank_rule
from .curve import Curve, Layer
from .cutting import Budget, Planned
from .edit import Edited, Outcome, layers_of, run
from .unchanged import written
from .whole import EXACT, RANDOMISED, WHOLE_METHODS, WholeCut, as_large_whole


@dataclass(frozen=True)
class Extracted(Edited):
    """The result of an extraction: `lora` and `report` as of every edit.

    `curve` says what other ranks would have kept: its `points` are ranks with the size in bytes and
    the relative error, at least and at most.

    >>> import torch
    >>> before = {"double_blocks.0.img_attn.proj.weight": torch.zeros(64, 64)}
    >>> extracted = core.extract({key: t + torch.eye(64) for key, t in before.items()}, before)
    >>> extracted.curve.points[-1].rank
    64
    """

    curve: Curve = field(default_factory=Curve)


def extract(
    tuned: Stored | BaseModel,
    base: Stored | BaseModel,
    rank: RankRule | int | str = 32,
    layers: str = "",
    output: Output = Output(),  # noqa: B008 - frozen
    compute: Compute | None = None,
    method: str = RANDOMISED,
    vectors: bool = False,
    preview: bool = False,
) -> Extracted:
    """The LoRA that makes the `tuned` model of the `base` model, as far as its ranks reach.

    `tuned` and `base` are paths of checkpoints, diffusion models or folders of diffusers, each in
    whichever layout; state dicts, or BaseModels. `rank` is a number, a rank rule or budget; "full"
    keeps the differences whole. `layers` selects weights. `output` says where the result goes; its
    dtype match is the tuned model's, its spelling match is kohya's. `compute` says where and how to
    compute. `method` is randomised (Halko, Martinsson and Tropp 2011) or exact; either way errors
    are measured. `vectors` has norms and biases, too, as differences. `preview` computes ranks and
    errors only.

    What is the same in both models is left out. Rules that look at the spectrum, such as knee and
    energy, see nothing below what the rounding of the models themselves makes. Raises MismatchError
    for models that are not of one architecture or are equal, FileError for what cannot be read or
    written, SettingError for a budget or a selector that leaves nothing.

    >>> import torch
    >>> before = {"double_blocks.0.img_attn.proj.weight": torch.randn(64, 64)}
    >>> after = {key: weight + torch.ones(64, 64) for key, weight in before.items()}
    >>> extracted = core.extract(after, before, core.RankRule("knee"))
    >>> extracted.report.rank_summary(), extracted.report.relative_error < 1e-5
    ('1', True)
    """
    one_of("method", method, WHOLE_METHODS)
    rule, compute = rank_rule(rank), compute or Compute()
    tuned = BaseModel.of(tuned)
    base = base if isinstance(base, BaseModel) else BaseModel(base, prefer=tuned.family)
    check_output(output, tuned, base)
    difference = Difference(tuned, base, vectors, compute.device)
    files = file_names([tuned.name, base.name])
    recipe = asdict(rule) | {"layers": layers, "method": method, "vectors": vectors}
    recipe |= {"tuned": tuned.name, "base": base.name} | output.recipe()
    report = Report("extract", settings=recipe)
    source = _as_lora(difference, files)
    spelling = KOHYA if output.spelling == "match" else output.spelling
    targets = lay_out([source], standard_spelling(spelling, source.family))
    known = layers_of([source], targets, difference.reshaped)
    chosen = known.selected(layers)
    for name in difference.reshaped.keys() & chosen:
        raise MismatchError(
            f"has another shape in each model: {difference.reshaped[name]}",
            fix=f"leave it out with the layers selector: -{name}",
            file=files,
            module=name,
        )
    targets = [target for target in targets if target.canonical in chosen]
    report.notes += [*known.notes, *difference.notes]
    name = OUTPUT_DTYPES.get(output.dtype) or MATCHED.get(tuned.dtype_name, tuned.dtype_name)
    dtype: torch.dtype = getattr(torch, name)
    job = Extraction(difference, WholeCut(rule, method == EXACT), dtype)
    if rule.budget:
        budget = Budget([source], targets, dtype, job.cuttable, lambda *args: job(*args)[1])
        job.planned.update(budget.ranks(rule, 0, report, compute))
    try:
        edited = run([source], targets, job, output, report, compute, preview=preview)
    except SettingError:
        if not report.modules or report.kept:
            raise
        raise MismatchError(
            "nothing to extract: both have the same weights", fix=SAME, file=files
        ) from None
    curve = Curve(tuple(job.layers.values()), dtype.itemsize)
    report.inputs = [{"name": m.name, "bytes": m.bytes} for m in (tuned, base)]
    report.notes += curve.notes
    return Extracted(edited.lora, report, curve)


def check_output(output: Output, *models: BaseModel) -> None:
    """Raises FileError where the output would replace a file of a model."""
    for file in (file for model in models for file in model.files):
        if output.path is not None and file.path and same_file(output.path, file.path):
            raise FileError(
                "the output is one of the models", fix="choose another", file=str(output.path)
            )


def _as_lora(difference: Difference, files: str) -> Lora:
    if not difference.info and not difference.reshaped:
        raise MismatchError("they share no matrix", fix=SAME, file=files)
    if not difference.info:
        name, shapes = next(iter(difference.reshaped.items()))
        raise MismatchError(
            f"no weight has one shape in both: {name} {shapes}", fix=SAME, file=files
        )
    return Lora(difference, prefer=difference.base.family)


@dataclass(frozen=True)
class Extraction:
    """One weight of an extraction after the other. `planned` are the ranks of a budget; `layers`
    are filled with the spectra."""

    difference: Difference
    cut: WholeCut
    dtype: torch.dtype
    planned: dict[str, Planned] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)

    def __call__(self, target: Target, compute: Compute) -> Outcome:
        update = self.changed(target, compute)
        row = ModuleReport(target.canonical, "extracted", [])
        module = target.contributions[0].module
        if not update.values.any():
            note = "the same in both models"
            return ModuleReport(target.canonical, "dropped", [], note=note), {}
        if not self.is_cut(update):
            norm = update.frobenius_norm()
            return written(row, encode(update, target, self.dtype, module), norm)
        planned = self.planned.get(target.canonical)
        limit = planned.rank if planned else self.cut.rule.limit([])
        rounding = self.difference.rounding(next(iter(module.adapter.keys.values())))
        result, sketch = self.cut(update, limit, rounding * sum(map(sqrt, update.matrix.shape)))
        self.layers[target.canonical] = Layer.of(sketch)
        if as_large_whole(update.shape, result.update.rank) and not target.spelling.lora_only:
            row.note = "smaller as it is"
            return written(row, encode(update, target, self.dtype, module), result.norm)
        row.rank, row.retained_energy = result.update.rank, result.energy
        row.relative_error = result.error
        return written(row, encode(result.update, target, self.dtype, None), result.norm)

    def changed(self, target: Target, compute: Compute) -> Dense:
        update = total(target.updates(compute.device, compute.dtype))
        assert isinstance(update, Dense)
        return update

    def is_cut(self, update: Dense) -> bool:
        """Matrices are, unless all is to be kept."""
        matrix = len(update.shape) > 1 and min(update.matrix.shape) > 1
        return matrix and not self.cut.rule.keeps_all

    def cuttable(self, target: Target, compute: Compute) -> Dense | None:
        """The difference where a budget chooses a rank for it."""
        update = self.changed(target, compute)
        return update if self.is_cut(update) and update.values.any() else None
