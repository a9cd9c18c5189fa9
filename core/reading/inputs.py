"""Several files that are used together: read as one family, and for one model."""

from collections.abc import Iterable, Sequence

from ..errors import FileError, LoraError, MismatchError
from ..naming.family import UNKNOWN
from .lora import Lora
from .module import Module

ONE_MODEL = "use LoRAs of one model"


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
                "they share no module: different base models "
                f"({first.recognition} and {lora.recognition})",
                fix=ONE_MODEL,
                file=file_names([first.name, lora.name]),
            )
        seen |= own


def open_together(loras: Sequence[Lora]) -> list[Lora]:
    """The files read as one family where the names of some of them leave that open.

    The first file whose family is certain decides; without one, the first of which it is known.
    """
    known = [lora for lora in loras if lora.family is not UNKNOWN]
    sure = (lora for lora in known if lora.recognition.confidence == "certain")
    family = next(sure, [*known, *loras][0]).family
    return [
        lora
        if lora.family is family or lora.recognition.confidence == "certain"
        else Lora(lora.tensors, family, lora.reading, lora.base)
        for lora in loras
    ]


def file_names(names: Iterable[str]) -> str:
    """Names of files as an error has them, each once."""
    return " and ".join(dict.fromkeys(names))


def misfit(modules: Sequence[Module], module: str, problem: str) -> LoraError:
    """What to raise where modules that touch one weight do not fit each other."""
    file = file_names(module.tensors.name for module in modules)
    if len({id(module.tensors) for module in modules}) > 1:
        problem += ": they are for different base models"
        return MismatchError(problem, fix=ONE_MODEL, file=file, module=module)
    problem += ": the file is damaged or mixed up"
    return FileError(problem, fix="download or save it again", file=file, module=module)


def other_files(module: Module, modules: list[Module]) -> str:
    """The files of all modules but this one's; its own where there is no other."""
    names = [other.tensors.name for other in modules if other.tensors is not module.tensors]
    return file_names(names) or module.tensors.name
