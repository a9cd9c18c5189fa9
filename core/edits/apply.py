"""Apply: LoRAs baked into a model, tensor by tensor, into a new file of the same layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from math import prod
from typing import Any

from ..algebra.gram import length
from ..algebra.update import Dense
from ..deferred import Tensor, torch
from ..errors import MismatchError, SettingError
from ..reading.base_model import BaseModel, Identity
from ..reading.inputs import open_together
from ..reading.lora import Lora, Source
from ..reading.module import Module
from ..reading.numbers import scale_key, stored_as
from ..running.metadata import HASHES, new_hashes
from ..running.output import Output
from ..running.provenance import RECIPE, recipe
from ..running.report import ModuleReport, Report
from ..running.stream import Compute, stream
from ..running.writer import described
from ..storage.files import DictTensors, Stored
from ..storage.sinks import DictSink, FileHashes, FileSink, check_metadata, header_bound
from .edit import Edited
from .extract import check_output


@dataclass
class Unit:
    """Keys of the model that are written together, and the weights that they hold rows of.

    A fused weight can lie under several keys, and one key can hold several weights.
    """

    keys: list[str] = field(default_factory=list)
    weights: list[Identity] = field(default_factory=list)


def apply(
    model: Stored | BaseModel,
    loras: Source | Sequence[Source],
    weights: Sequence[float] = (1.0,),
    output: Output = Output(),  # noqa: B008 - frozen
    compute: Compute | None = None,
) -> Edited:
    """The model with LoRAs in its weights, written tensor by tensor as it was: dtypes, metadata.

    `model` is a checkpoint, a diffusion model or a folder of diffusers, a state dict or a
    BaseModel. `loras` is one LoRA or a list, which count one after the other, `weights` their
    strengths, one for each or one for all. `output` says where the result goes; its dtype and
    spelling have to match. `compute` says where and how to compute.

    Kinds that depend on the weight see what the LoRAs before them have made of it. The report has
    the error that the rounding to the model's own dtype makes, relative to the change, and under
    `dropped` what did not fit. Raises MismatchError for a LoRA of which nothing fits, FileError for
    what cannot be read or written, SettingError for a setting that means nothing here.

    >>> import torch
    >>> model = {"double_blocks.0.img_attn.proj.weight": torch.zeros(64, 64)}
    >>> style, _ = core.samples()
    >>> applied = core.apply(model, style, [0.5])
    >>> len(applied.lora), applied.report.modules[0].action
    (1, 'applied')
    """
    compute = compute or Compute()
    if output.dtype != "match" or output.spelling != "match":
        raise SettingError(
            "a model keeps its dtypes and its names", fix="leave dtype and spelling at match"
        )
    sources: list[Any] = list(loras) if isinstance(loras, list | tuple) else [loras]
    base = BaseModel.of(model)
    read = open_together([_for(base, one) for one in sources])
    if len(weights) not in (1, len(read)):
        raise SettingError(
            f"{len(weights)} weights for {len(read)} LoRAs",
            fix="give one for each, or one for all of them",
        )
    strengths = list(weights) * (len(read) if len(weights) == 1 else 1)
    output.check(read)
    check_output(output, base)
    report = Report("apply", settings={"model": base.name, "weights": strengths})
    report.inputs = [{"name": base.name, "bytes": base.bytes}, *map(described, read)]
    for lora in read:
        report.notes += lora.notes
    changes = _fitting(base, read, report)
    job = Application(base, changes, strengths)
    info = base.tensors.info
    metadata = {k: v for k, v in base.tensors.metadata.items() if k not in HASHES}
    hashes = [lora.tensors.sha256() for lora in read]
    metadata[RECIPE] = json.dumps(recipe(read, hashes, report), sort_keys=True)
    check_metadata(metadata)
    wanted = HASHES & base.tensors.metadata.keys()

    def finished(found: FileHashes | None) -> Mapping[str, str]:
        return output.metadata.applied(metadata | new_hashes(set(wanted), found))

    units = list(job.units())
    size = sum(len(json.dumps(pair)) + 8 for pair in finished(None).items()) + 400
    sink: DictSink | FileSink = DictSink()
    if output.path is not None:
        reserve = header_bound(info, size)
        sink = FileSink(output.path, reserve, bool(wanted), replace=output.replace)
    with sink:
        for tensors, rows in stream(units, lambda unit: unit.keys[0], job, compute):
            report.modules += rows
            for key, tensor in tensors.items():
                sink.put(key, tensor)
                report.output_bytes += tensor.nbytes
        for file in (*base.files, *(lora.tensors for lora in read)):
            file.check_unchanged()
        sink.finish(finished)
    report.output = None if output.path is None else str(output.path)
    report.notes += _rounding_notes(report)
    result = sink.result if isinstance(sink, DictSink) else sink.path
    return Edited(result, report)


def _rounding_notes(report: Report) -> list[str]:
    """What the model's own dtypes cost."""
    worst = max(report.modules, key=lambda row: row.rounding)
    if worst.rounding < 0.001:
        return []
    return [
        f"rounding to the model's dtypes moves the change by {report.relative_error:.2g} of its "
        f"size, at most {worst.rounding:.2g} ({worst.module}); a LoRA beside it is not rounded"
    ]


def _for(base: BaseModel, source: Source) -> Lora:
    """The LoRA, read for this model."""
    if isinstance(source, Lora):
        return Lora(source.original, base.family, source.reading, base)
    return Lora(source, prefer=base.family, base=base)


Change = tuple[int, Module]


def _fitting(
    base: BaseModel, loras: Sequence[Lora], report: Report
) -> dict[Identity, list[Change]]:
    """What changes each weight, in the order of the LoRAs; the report has what does not fit."""
    found: dict[Identity, list[Change]] = {}
    for number, lora in enumerate(loras):
        fits = 0
        for module in lora.modules.values():
            shape = base.shape(module.name, module.parameter)
            mine = module.dimensions.shape
            if shape is None:
                reason = f"{base.name} has no such weight"
            elif mine and (mine[0] != shape[0] or prod(mine) != prod(shape)):
                reason = f"its shape is {mine}, that of the weight {shape}"
            else:
                fits += 1
                found.setdefault(module.identity, []).append((number, module))
                continue
            report.dropped[f"{lora.name}: {module.canonical}"] = reason
        if not fits:
            raise MismatchError(
                f"not one of its modules fits: {reason}",
                fix="use the model that it was made for",
                file=lora.name,
            )
    return found


@dataclass(frozen=True)
class Application:
    """One unit of a model after the other: `changes` of the `base` at these `strengths`."""

    base: BaseModel
    changes: Mapping[Identity, list[Change]]
    strengths: Sequence[float]

    def units(self) -> Iterator[Unit]:
        """All keys of the model, those that hold rows of one weight together."""
        done: set[str] = set()
        for key in self.base.tensors.info:
            if key in done:
                continue
            unit, waiting = Unit(), [key]
            while waiting:
                one = waiting.pop()
                if one in unit.keys:
                    continue
                unit.keys.append(one)
                waiting += filter(None, [scale_key(self.base.tensors.info, one)])
                for identity, _ in self.base.held.get(one, ()):
                    unit.weights.append(identity)
                    waiting += [piece.key for piece in self.base.weights[identity]]
            done |= set(unit.keys)
            unit.weights = list(dict.fromkeys(unit.weights))
            yield unit

    def __call__(
        self, unit: Unit, compute: Compute
    ) -> tuple[dict[str, Tensor], list[ModuleReport]]:
        """The tensors of a unit as they are written, and a row for each weight that was changed."""
        tensors = {key: self.base.tensors[key] for key in unit.keys}
        if not any(identity in self.changes for identity in unit.weights):
            return tensors, []
        before = {identity: self.weight(self.base, identity, compute) for identity in unit.weights}
        after = {identity: self.changed(identity, before[identity], compute) for identity in before}
        for key in unit.keys:
            parts = [
                self.base.rows_of(piece, identity[1], after[identity])
                for identity, piece in self.base.held.get(key, ())
            ]
            if parts:
                tensors |= stored_as(torch.cat(parts), key, self.base.tensors)
        # What a reader finds there now.
        written = copy(self.base)
        written.tensors = DictTensors(tensors)
        rows = []
        for identity in (identity for identity in unit.weights if identity in self.changes):
            norm = length(after[identity] - before[identity])
            lost = length(self.weight(written, identity, compute) - after[identity])
            rows.append(self.row(identity, norm, lost))
        return tensors, rows

    def weight(self, base: BaseModel, identity: Identity, compute: Compute) -> Tensor:
        name = self.base.name_of(identity)
        return base.weight(name, identity[1], compute.device, compute.dtype)

    def changed(self, identity: Identity, before: Tensor, compute: Compute) -> Tensor:
        """The weight after all LoRAs, one after the other."""
        weight = before.clone()
        for number, module in self.changes.get(identity, ()):
            start, stop = self.base.span(module.name, module.parameter)
            rows = weight[start:stop]
            on = rows if module.adapter.kind.on_base else None
            update = module.update(compute.device, compute.dtype, weight=on)
            dense = update.values if isinstance(update, Dense) else update.dense()
            rows += self.strengths[number] * dense.reshape(rows.shape)
        return weight

    def row(self, identity: Identity, norm: float, lost: float) -> ModuleReport:
        changes, name = self.changes[identity], self.base.name_of(identity)
        suffix = ".bias" if identity[1] == "bias" else ""
        row = ModuleReport(name.canonical + suffix, "applied", [m.rank for _, m in changes])
        row.inputs, row.norm = sorted({number for number, _ in changes}), norm
        row.relative_error = row.rounding = lost / norm if norm > 0 else 0.0
        return row
