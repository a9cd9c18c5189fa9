"""What goes wrong in ways that users can mend, and where it did."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager


class LoraError(ValueError):
    """A file, setting or name that cannot be honoured.

    Raised instead of guessing: a wrong guess writes a file that loads and is wrong. Its text says
    where, what and how to go on, in one line: `file: module NAME: tensor KEY: problem; fix`. The
    command line and the ComfyUI nodes show it as it is; the parts are attributes of the same names,
    each an empty text where it does not apply.
    """

    def __init__(
        self, problem: str, *, fix: str = "", file: str = "", module: str = "", tensor: str = ""
    ) -> None:
        super().__init__(problem)
        self.problem, self.fix = problem, fix
        self.file, self.module, self.tensor = file, module, tensor

    def __str__(self) -> str:
        parts = (
            self.file,
            self.module and f"module {self.module}",
            self.tensor and f"tensor {self.tensor}",
            "; ".join(filter(None, (self.problem, self.fix))),
        )
        return ": ".join(filter(None, parts))


class FileError(LoraError):
    """A file that cannot be read or written, or that is damaged."""


class SettingError(LoraError):
    """A setting, selector or name that means nothing, or nothing here."""


class EmptyRest(SettingError):
    """A second part was asked for, and the first one is everything."""


class MismatchError(LoraError):
    """Inputs that do not belong together."""


class Cancelled(Exception):
    """The caller's cancel check said stop. No output is left behind."""


def one_of(name: str, value: object, choices: Collection[str]) -> None:
    """Raises SettingError where a setting is none of its choices."""
    if value not in choices:
        raise SettingError(
            f"{name} {value!r} is unknown", fix=f"choose one of {', '.join(choices)}"
        )


@contextmanager
def located(*, file: str = "", module: str = "", tensor: str = "") -> Iterator[None]:
    """Inside, a LoraError that does not say where it happened is told this."""
    try:
        yield
    except LoraError as error:
        error.file = error.file or file
        error.module = error.module or module
        error.tensor = error.tensor or tensor
        raise
