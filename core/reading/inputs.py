"""Several files that are used together: read as one family, and for one model."""

from collections.abc import Iterable, Sequence

from ..errors import FileError, LoraError, MismatchError
from ..naming.family import UNKNOWN
from .lora import Lora, Module

ONE_MODEL = "use LoRAs of one model"


def check_families(loras: Sequence[Lora]) -> None:
    """Raises MismatchError when two files have no weight in common and may be for different models.

    Two halves of one LoRA have none in common either.
    """
    if len(loras) < 2:
        return
    first, second = loras
    shared = {m.identity for m in first.modules.values()} & {
        m.identity for m in second.modules.values()
    }
    if not shared and not (first.family is second.family is not UNKNOWN):
        raise MismatchError(
            "they share no module: different base models "
            f"({first.recognition} and {second.recognition})",
            fix=ONE_MODEL,
            file=file_names([first.name, second.name]),
        )


def open_pair(first: Lora, second: Lora) -> tuple[Lora, Lora]:
    """Two files read as one family where the names of one of them leave that open."""
    if first.family is not second.family:
        if second.recognition.confidence != "certain":
            second = Lora(second.tensors, first.family, second.reading)
        if first.family is not second.family and first.recognition.confidence != "certain":
            first = Lora(first.tensors, second.family, first.reading)
    return first, second


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
