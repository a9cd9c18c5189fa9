"""Several files that are used together: read as one family, and for one model."""

from collections.abc import Sequence

from ..errors import MismatchError
from ..naming.family import UNKNOWN
from .lora import Lora, Module


def check_families(loras: Sequence[Lora]) -> None:
    """Raises MismatchError for a file that may be for another base model than the first.

    It is for the same one where it shares a weight with any other, or the family. (Two halves of
    one LoRA share no weight.)
    """
    first = loras[0]
    seen = {module.identity for module in first.modules.values()}
    for lora in loras[1:]:
        own = {module.identity for module in lora.modules.values()}
        if not own & seen and not (first.family is lora.family is not UNKNOWN):
            raise MismatchError(
                f"share no module: they are for different base models ({first.recognition} and "
                f"{lora.recognition})",
                fix="blend LoRAs of one model",
                file=f"{first.name} and {lora.name}",
            )
        seen |= own


def open_together(loras: Sequence[Lora]) -> list[Lora]:
    """The files read as one family where the names of some of them leave that open.

    The first file whose family is certain decides; without one, the first file.
    """
    sure = (lora for lora in loras if lora.recognition.confidence == "certain")
    family = next(sure, loras[0]).family
    return [
        lora
        if lora.family is family or lora.recognition.confidence == "certain"
        else Lora(lora.tensors, family, lora.reading)
        for lora in loras
    ]


def misfit(modules: Sequence[Module]) -> str:
    """Why modules that touch one weight do not fit each other."""
    if len({id(module.tensors) for module in modules}) > 1:
        return "different base models"
    return f"{modules[0].tensors.name} is damaged or mixed up"


def other_files(module: Module, modules: list[Module]) -> str:
    """The files of all modules but this one's; its own where there is no other."""
    names = [other.tensors.name for other in modules if other.tensors is not module.tensors]
    return " and ".join(dict.fromkeys(names)) or module.tensors.name
