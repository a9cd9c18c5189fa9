"""What goes wrong in ways that users can mend, and where it did."""

from collections.abc import Collection

from .quoting import terminal


class LoraError(ValueError):
    """A file, setting or name that cannot be honoured.

    Raised instead of guessing: a wrong guess writes a file that loads and is wrong. Its text says
    where, what and how to go on, in one line: `file: module NAME: tensor KEY: problem; fix`. The
    command line and the ComfyUI nodes show it as it is; the parts are attributes of the same names,
    of which those that say where are an empty text where they do not apply.

    What raises it says as much of the place as it knows; `located` and `at` add the rest on the
    way up. The subclasses tell apart what callers may want to; what is none of them (no memory, a
    decomposition that fails) is a LoraError only.
    """

    def __init__(
        self, problem: str, fix: str, *, file: str = "", module: str = "", tensor: str = ""
    ) -> None:
        super().__init__(problem, fix)  # What unpickling calls the class with.
        self.problem, self.fix = problem, fix
        self.file, self.module, self.tensor = file, module, tensor

    def at(self, *, file: str = "", module: str = "", tensor: str = "") -> "LoraError":
        """This error, told what lies around the place that it knows.

        An error that knows its tensor is told module and file, one that knows no more than its file
        is about the file as a whole: nothing is added inside of it.
        """
        if not (self.tensor or self.module or self.file):
            self.tensor = tensor
        if not self.module and (self.tensor or not self.file):
            self.module = module
        self.file = self.file or file
        return self

    def __str__(self) -> str:
        place = (
            self.file,
            self.module and f"module {self.module}",
            self.tensor and f"tensor {self.tensor}",
        )
        text = ": ".join(filter(None, (*place, f"{self.problem}; {self.fix}")))
        # Names and other libraries' words can have several lines, and escapes for a terminal.
        return terminal(" ".join(text.splitlines()))


class FileError(LoraError):
    """A file that cannot be read or written, or in which something cannot be used as it is."""


class Occupied(FileError):
    """A file is in the place of an output that is to replace none."""


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


class located:
    """Inside, a LoraError is told where it is (see `LoraError.at`).

    A class, not a generator: it stands in the loop over modules.
    """

    __slots__ = ("place",)

    def __init__(self, *, file: str = "", module: str = "", tensor: str = "") -> None:
        self.place = file, module, tensor

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, LoraError):
            file, module, tensor = self.place
            error.at(file=file, module=module, tensor=tensor)
