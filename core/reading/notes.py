"""What a user should know about how a file is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..adapters.grouping import DROPPED
from ..errors import MismatchError
from ..naming.precedence import is_read
from ..naming.recognition import Recognition
from ..naming.spelling import GENERIC, spell, standard_spelling
from ..storage.files import Tensors
from .base_model import BaseModel
from .dialects import Renamed
from .module import Module
from .peft_scale import PeftSettings


def reading_notes(
    tensors: Tensors, modules: Mapping[str, Module], shadowed: Mapping[str, str]
) -> list[str]:
    """What was renamed, left out, or is read by nobody."""
    notes = []
    if isinstance(tensors, Renamed):
        notes.append(f"{tensors.name}: {tensors.note}")
    dropped = sum(reason == DROPPED for reason in shadowed.values())
    if dropped:
        notes.append(
            f"{tensors.name}: read without the magnitudes of {dropped} DoRA modules; that is not "
            "the update that was trained"
        )
    baked = [module for module in modules.values() if module.baked]
    if baked and (base := baked[0].base):
        kinds = " and ".join(sorted({module.adapter.kind.name for module in baked}))
        notes.append(f"{tensors.name}: {len(baked)} modules ({kinds}) baked with {base.name}")
    remarks = Counter(module.dimensions.note for module in modules.values())
    notes += [f"{remark} ({count} modules)" for remark, count in remarks.items() if remark]
    unread = [module for module in modules.values() if module.unread]
    if unread:
        notes.append(
            f"ComfyUI has no names like {_example(unread[0])}, for {len(unread)} of "
            f"{len(modules)} modules, and leaves them out; here they count" + _way_out(unread)
        )
    return notes


def check_base(
    name: str, recognition: Recognition, modules: Mapping[str, Module], base: BaseModel
) -> None:
    """Raises MismatchError where a file is for another base model than this."""
    if not any(module.name in base for module in modules.values()):
        raise MismatchError(
            f"not one of its weights is in {base.name}: made for {recognition}, the base model is "
            f"{base.recognition}",
            fix="use the base model that it was made for",
            file=name,
        )


def _example(module: Module) -> str:
    """The name that ComfyUI does not know: the module's, or that of its tensors."""
    foreign = module.adapter.kind.precedence == 0
    return module.raw + (next(iter(module.adapter.suffixes.values())) if foreign else "")


def _way_out(unread: Sequence[Module]) -> str:
    """Which of them ComfyUI reads under other names."""
    family = unread[0].family
    generic = standard_spelling(GENERIC, family)
    names = (spell(module.name.part, generic, family) for module in unread)
    readable = sum(name is not None and is_read(name, family) for name in names)
    if not readable:
        return ""
    some = "" if readable == len(unread) else f" for {readable} of them"
    return f", and the spelling generic writes names that it reads{some}"


def scale_notes(
    scales: Counter[float], settings: PeftSettings | None, from_metadata: bool
) -> list[str]:
    """Where diffusers scales by settings in the metadata, which ComfyUI does not read."""
    notes = []
    if settings and (unread := settings.unread):
        notes.append(
            f"{len(unread)} patterns of lora_adapter_metadata are too involved to be matched here, "
            f"such as {unread[0][:60]!r}: by what diffusers scales there is not known"
        )
    other = [scale for scale in scales if scale != 1.0]
    if not other:
        return notes
    low, high = min(other), max(other)
    factor = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    count = f"{sum(scales[scale] for scale in other)} of {scales.total()} modules by {factor}"
    if from_metadata:
        return [
            *notes,
            f"scaled {count} as diffusers does ({settings}); ComfyUI scales them by 1",
        ]
    return [
        *notes,
        f"diffusers scales {count} ({settings}), ComfyUI by 1, which counts here; "
        "scale_from_metadata reads the file as diffusers does",
    ]
