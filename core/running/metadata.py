"""What a written file says about itself: one function, from the inputs and what was done to them.

Other programs believe metadata: they look files up by hash and by name, hide those of another
model, and scale by settings of the training. So an entry survives only where every tensor that it
speaks of is unchanged and its own file's; what can be computed anew is, and the rest goes.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ..errors import SettingError, one_of
from ..reading.lora import Lora
from ..reading.peft_scale import KEY as PEFT
from ..storage.dtypes import TensorInfo
from ..storage.sinks import FileHashes, json_bytes
from .provenance import RECIPE, read_recipe, recipe, stem, title_of
from .report import Report
from .united import LISTS, Said, united

MODEL_HASH, LEGACY_HASH, SPEC_HASH = "sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"
HASHES = frozenset((MODEL_HASH, LEGACY_HASH, SPEC_HASH))
NAME, TITLE, DATE, TRIGGER = (
    "ss_output_name",
    "modelspec.title",
    "modelspec.date",
    "modelspec.trigger_phrase",
)
MERGED_FROM = "modelspec.merged_from"
MODEL_KEYS = ("ss_base_model_version", "ss_v2", "modelspec.architecture")
# The settings of a training that say how its modules were built.
NETWORK_KEYS = ("ss_network_module", "ss_network_args")

KEEP, MINIMAL, NONE = "keep", "minimal", "none"
METADATA_CHOICES = (KEEP, MINIMAL, NONE)
# What programs need to load the file, to show it beside its model and to scale it as it was; the
# words for the prompt; and the license, which is not ours to drop.
NEEDED = {
    *MODEL_KEYS, *HASHES, *LISTS, PEFT, NAME, TITLE, "format", "ss_network_module",
    "ss_network_dim", "ss_network_alpha", "modelspec.sai_model_spec", "modelspec.implementation",
    "modelspec.prediction_type", "ss_v_parameterization", "modelspec.license",
} - {"modelspec.tags"}  # fmt: skip


@dataclass(frozen=True)
class Wishes:
    """What the user wants the metadata to be.

    `keep` is one of METADATA_CHOICES: everything that is true, what other programs need, or
    nothing. Then the keys of `unset` go and the entries of `set` come. Raises SettingError for a
    key without a name.

    >>> wishes = core.Wishes("minimal", set=(("modelspec.title", "Mine"),))
    >>> style, _ = core.samples()
    >>> edited = core.convert(style, core.Output(metadata=wishes))
    >>> edited.lora.metadata["modelspec.title"]
    'Mine'
    """

    keep: str = KEEP
    set: tuple[tuple[str, str], ...] = ()
    unset: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("metadata", self.keep, METADATA_CHOICES)
        for key in (*(key for key, _ in self.set), *self.unset):
            if not key.strip():
                raise SettingError(f"metadata key {key!r} is empty", fix="give it a name")

    def applied(self, entries: Mapping[str, str]) -> dict[str, str]:
        """The entries as they are wanted."""
        kept = {
            key: value
            for key, value in entries.items()
            if self.keep == KEEP or (self.keep == MINIMAL and key in NEEDED)
        }
        for key in self.unset:
            kept.pop(key, None)
        return kept | dict(self.set)

    def as_recipe(self) -> dict[str, Any]:
        """As the recipe says it; nothing where nothing was wished."""
        if self == Wishes():
            return {}
        pairs = [list(pair) for pair in self.set]
        return {"metadata": {"keep": self.keep, "set": pairs, "unset": list(self.unset)}}


@dataclass(frozen=True)
class Facts:
    """An edit's output as far as its metadata speak of it.

    `written` are its tensors, `alphas` those of its modules; `digests` are the hashes of the
    inputs' files. `name` is its own, None for a state dict, which has none yet.
    """

    loras: Sequence[Lora]
    report: Report
    written: Mapping[str, TensorInfo]
    alphas: frozenset[float]
    digests: Sequence[str | None]
    name: str | None
    wishes: Wishes = Wishes()

    @property
    def counting(self) -> list[int]:
        """The numbers of the inputs that are in the result at all."""
        return sorted({i for row in self.report.kept for i in row.inputs}) or [0]

    @property
    def owner(self) -> Lora | None:
        """The input whose modules all of the result's are, to the bit and under their names."""
        copied = all(row.action == "copied" for row in self.report.kept)
        numbers = self.counting
        return self.loras[numbers[0]] if copied and len(numbers) == 1 else None


def output_metadata(facts: Facts, hashes: FileHashes | None) -> dict[str, str]:
    """The metadata of an edit's output. `hashes` are those of the file, where it has some."""
    sources = [facts.loras[i] for i in facts.counting]
    owner = facts.owner
    result = dict(sources[0].metadata)
    if owner is None:
        result.pop(PEFT, None)
        _correct_dimensions(result, facts)
        _correct_network(result, sources)
    if owner is None or facts.written != owner.original.info:
        keys = wanted_hashes([lora.metadata for lora in sources])
        result = {key: value for key, value in result.items() if key not in HASHES}
        result |= new_hashes(keys, hashes)
    own_name(result, facts.name)
    for lora in sources:
        # One that is certain speaks for all: they are for the same model.
        result |= {k: v for k, v in model_words(lora).items() if k not in result}
    if len(sources) > 1:
        # What a training, a workflow, a picture of one file says is not true of the other.
        result = {
            key: value
            for key, value in result.items()
            if key in NEEDED or key == DATE or _undisputed(key, value, sources)
        }
        result |= united([Said(*said) for said in zip(*_said(sources), strict=True)])
        result[MERGED_FROM] = ", ".join(title_of(lora) for lora in sources)
    result[RECIPE] = json.dumps(recipe(facts.loras, facts.digests, facts.report), sort_keys=True)
    return facts.wishes.applied(result)


def _undisputed(key: str, value: str, sources: Sequence[Lora]) -> bool:
    return all(lora.metadata.get(key, value) == value for lora in sources)


def metadata_bound(loras: Sequence[Lora], report: Report) -> int:
    """An upper bound of the bytes of an output's metadata; a rough one where files are united."""
    made = json.dumps(recipe(loras, ["0" * 64] * len(loras), report))
    entries = [pair for lora in loras for pair in lora.metadata.items() if pair[0] != RECIPE]
    entries += [pair for lora in loras for pair in model_words(lora).items()]
    entries += report.settings.get("metadata", {}).get("set", [])
    entries += [(MERGED_FROM, title_of(lora)) for lora in loras[1:]]
    return json_bytes(made) + sum(sum(map(json_bytes, pair)) + 12 for pair in entries) + 100


def _said(sources: Sequence[Lora]) -> tuple[list[str], list[Mapping[str, str]], list[bool]]:
    """Labels that differ, metadata, and which files are of several."""
    labels: list[str] = []
    for lora in sources:
        label, number = stem(lora.name), 2
        while label in labels:
            label, number = f"{stem(lora.name)} ({number})", number + 1
        labels.append(label)
    merged = [MERGED_FROM in lora.metadata and _of_several(lora) for lora in sources]
    return labels, [lora.metadata for lora in sources], merged


def _of_several(lora: Lora) -> bool:
    found = read_recipe(lora.metadata)
    return bool(found and len(found["inputs"]) > 1)


def _correct_dimensions(result: dict[str, str], facts: Facts) -> None:
    """The rank and alpha that kohya's metadata name, where all written modules have the same."""
    ranks = {float(row.rank) for row in facts.report.kept if row.rank is not None}
    for key, values in (("ss_network_dim", ranks), ("ss_network_alpha", facts.alphas)):
        if key in result and len(values) == 1 and facts.alphas:
            result[key] = f"{next(iter(values)):g}"
        else:
            result.pop(key, None)


def _correct_network(result: dict[str, str], sources: Sequence[Lora]) -> None:
    """Of modules that are written anew as LoRA, settings of another kind or size say nothing."""
    kinds = {module.adapter.kind.name for lora in sources for module in lora.modules.values()}
    if kinds != {"LoRA"}:
        result.pop("ss_network_module", None)
    result.pop("ss_network_args", None)


def wanted_hashes(inputs: Sequence[Mapping[str, str]]) -> set[str]:
    """Which hashes a changed file is to have: those that an input had, and kohya's for kohya's.

    A state dict has lost its hashes, as it has no file; kohya's other entries show that its reader
    looks for them. Programs compute what they miss by themselves, so no other file needs any.
    """
    wanted = {key for metadata in inputs for key in HASHES if key in metadata}
    kohyas = ("ss_network_module", "ss_network_dim", "ss_session_id", "ss_learning_rate")
    if any(key in metadata for metadata in inputs for key in kohyas):
        wanted |= {MODEL_HASH, LEGACY_HASH}
    return wanted


def new_hashes(keys: set[str], hashes: FileHashes | None) -> dict[str, str]:
    """The hashes as their writers define them, for these keys."""
    if hashes is None:
        return {}
    values = {MODEL_HASH: hashes.data, SPEC_HASH: "0x" + hashes.data}
    if hashes.legacy is not None:
        values[LEGACY_HASH] = hashes.legacy[:8]
    return {key: value for key, value in values.items() if key in keys}


def described_file(
    lora: Lora, entries: Mapping[str, str], name: str, wishes: Wishes
) -> dict[str, str]:
    """The entries of a file that is written with the LoRA's tensors as they are, under this name.

    It keeps its title and its date. Its model is named where anything is: a file with metadata that
    do not name it counts as SD1.
    """
    result = dict(entries)
    if NAME in result:
        result[NAME] = name
    if result or (wishes.set and wishes.keep != NONE):
        result = model_words(lora) | result
    return result


def own_name(result: dict[str, str], name: str | None) -> None:
    """Name, title and date of the file itself where it has such entries; without a name none.

    Without the entries programs take the file's name, which is what a state dict's file will get.
    """
    for key in (NAME, TITLE):
        if name is None:
            result.pop(key, None)
        elif key in result:
            result[key] = name
    if DATE in result:
        result[DATE] = written_date()


def written_date() -> str:
    """Now, in UTC; SOURCE_DATE_EPOCH is another now, for files that are the same byte by byte."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.now(timezone.utc)
    if re.fullmatch(r"\d{1,10}", given):
        now = datetime.fromtimestamp(int(given), timezone.utc)
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def model_words(lora: Lora) -> dict[str, str]:
    """What other programs call the model of a file, where it is certain."""
    if lora.recognition.confidence != "certain":
        return {}
    for called in lora.family.called:
        found = {
            module.in_features
            for module in lora.modules.values()
            if called.where and re.search(called.where, module.name.native or "")
        }
        if found == ({called.columns} if called.where else set()):
            return dict(called.metadata)
    return {}
