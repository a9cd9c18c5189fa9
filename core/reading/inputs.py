"""Several files that are used together: read as one family, and for one model."""

from collections.abc import Sequence

from ..errors import LoraError
from ..naming.family import UNKNOWN
from .lora import Lora, Module


def check_families(loras: Sequence[Lora]) -> None:
    """Raises LoraError when two files have no weight in common and may be for different models.

    Two halves of one LoRA have none in common either.
    """
    if len(loras) < 2:
        return
    first, second = loras
    shared = {m.identity for m in first.modules.values()} & {
        m.identity for m in second.modules.values()
    }
    if not shared and not (first.family is second.family is not UNKNOWN):
        raise LoraError(
            f"{first.name} and {second.name} share no module: they are for different base models "
            f"({first.recognition} and {second.recognition}); blend LoRAs of one model"
        )


def open_pair(first: Lora, second: Lora) -> tuple[Lora, Lora]:
    """Two files read as one family where the names of one of them leave that open."""
    if first.family is not second.family:
        if second.recognition.confidence != "certain":
            second = Lora(second.tensors, first.family, second.reading)
        if first.family is not second.family and first.recognition.confidence != "certain":
            first = Lora(first.tensors, second.family, first.reading)
    return first, second


def misfit(modules: Sequence[Module]) -> str:
    """Why modules that touch one weight do not fit each other."""
    if len({id(module.tensors) for module in modules}) > 1:
        return "different base models"
    return f"{modules[0].tensors.name} is damaged or mixed up"


def other_files(module: Module, modules: list[Module]) -> str:
    """The files of all modules but this one's; its own where there is no other."""
    names = [other.tensors.name for other in modules if other.tensors is not module.tensors]
    return " and ".join(dict.fromkeys(names)) or module.tensors.name
