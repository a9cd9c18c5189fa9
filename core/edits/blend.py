"""Blend: the weighted sum of any number of LoRAs, exact until a rank is asked for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..errors import SettingError
from ..merging.even import Even
from ..reading.inputs import check_families, file_names, open_together
from ..reading.lora import Lora, Source
from ..reading.variants import variant_notes
from ..running.layout import lay_out
from ..running.output import Output
from ..running.report import Report
from ..running.stream import Compute
from .blend_settings import PER_FILE, Blend, recipe_of
from .block_weights import BlockRule, parse_block_weights
from .cutting import Budget
from .edit import Edited, layers_of, raw_names, run
from .mixture import Mixture


def blend(
    loras: Source | Sequence[Source],
    second: Source | None = None,
    settings: Blend = Blend(),  # noqa: B008 - frozen
    output: Output = Output(),  # noqa: B008 - frozen
    compute: Compute | None = None,
    block_rule: BlockRule | None = None,
    keep: Callable[[str, Sequence[str]], bool] | None = None,
) -> Edited:
    """The weighted sum of one or more LoRAs, in the spelling of the first.

    `loras` is a list of paths, state dicts or Lora objects, or the first of at most two; `second`
    is then the other. `settings` has the weights, the rank and the rest, `output` says where the
    result goes and in which dtype and spelling, `compute` where and how to compute. `block_rule`
    overrides `settings.block_weights`: a function of a module's canonical name and its names in the
    inputs, that gives a multiplier for each input. `keep`, of the same arguments, decides on
    modules beside `settings.layers`.

    What a rule cuts is cut at the optimum of Eckart and Young (1936); a module that is only scaled
    keeps its kind. Raises MismatchError for files that do not belong together, SettingError for
    settings that select nothing, FileError for files that cannot be read or written and for kinds
    that cannot be added.

    >>> style, character = core.samples()
    >>> edited = core.blend(style, character, core.Blend((0.8, 0.6), rank="full"))
    >>> len(edited.report.modules), edited.report.relative_error < 1e-6
    (50, True)
    """
    compute = compute or Compute()
    given: list[Any] = list(loras) if isinstance(loras, list | tuple) else [loras]
    given += [] if second is None else [second]
    if not given:
        raise SettingError("no LoRA to blend", fix="give one or more")
    inputs = open_together([Lora.of(source) for source in given])
    check_families(inputs)
    weights = settings.weights_of([lora.name for lora in inputs])
    targets = lay_out(inputs, output.spelling_for(inputs[0]))
    others = {key for lora in inputs for key in lora.other}
    names = [target.canonical for target in targets]
    files = file_names(lora.name for lora in inputs)
    layers = layers_of(inputs, targets, others)
    chosen = layers.selected(settings.layers)
    if keep is not None:
        chosen &= {t.canonical for t in targets if keep(t.canonical, raw_names(t))}
    kept = [target for target in targets if target.canonical in chosen]
    if not kept:
        raise SettingError(
            "no module is selected, nothing is written",
            fix="widen the layers selector",
            file=files,
        )
    rule = block_rule or parse_block_weights(settings.block_weights, layers, len(inputs))
    recipe = recipe_of(settings, weights, output) | {
        name: "a function"
        for name, function in (("block_weights", block_rule), ("layers", keep))
        if function is not None
    }
    report = Report("blend", settings=recipe)
    report.dropped |= {name: "not selected" for name in names if name not in chosen}
    report.notes += [*layers.notes, *variant_notes(inputs), *speed_notes(inputs, weights)]
    dtype = output.dtype_for(inputs[0])
    job = Mixture(settings, weights, rule, dtype)
    if isinstance(settings.balance, Even) and settings.balance.whole_file:
        job = replace(job, weights=job.evened(kept, compute))
    if settings.strength == PER_FILE:
        job = replace(job, strength=job.whole_strength(kept, compute))
    others_chosen = others & chosen if settings.layers or keep is not None else None
    if settings.ranks.budget:
        budget = Budget(inputs, kept, dtype, job.exact, lambda *args: job.module(*args)[1])
        size = sum(lora.tensors.info[key].bytes for lora in inputs for key in lora.other)
        job = replace(job, planned=budget.ranks(settings.ranks, size, report, compute))
    return run(inputs, kept, job.module, output, report, compute, others_chosen)


SPEED_WORDS = re.compile(r"turbo|lightning|hyper-?sd|\blcm\b|distill|lightx2v", re.IGNORECASE)
TITLES = ("ss_output_name", "modelspec.title", "modelspec.trigger_phrase", "name")


def speed_notes(loras: Sequence[Lora], weights: Sequence[float]) -> list[str]:
    """A warning for each distilled speed LoRA that is blended at a weight other than 1."""
    result = []
    for lora, weight in zip(loras, weights, strict=False):
        texts = [lora.name, *(lora.metadata.get(key, "") for key in TITLES)]
        if weight != 1.0 and any(map(SPEED_WORDS.search, texts)):
            result.append(
                f"{lora.name} seems to be a distilled speed LoRA: at weight {weight:g}, not 1, "
                "the number of steps and the guidance it was made for no longer fit"
            )
    return result
