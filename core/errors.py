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

    >>> try:
    ...     core.Lora("missing.safetensors")
    ... except core.LoraError as error:
    ...     print(error)
    ...     print(error.file, "-", error.problem, "-", error.fix)
    missing.safetensors: no such file; check the path
    missing.safetensors - no such file - check the path
    """

    def __init__(
        self, problem: str, fix: str, *, file: str = "", module: str = "", tensor: str = ""
    ) -> None:
        super().__init__(problem, fix)  # What unpickling calls the class with.
        self.problem, self.fix = problem, fix
        self.file, self.module, self.tensor = file, module, tensor

    def told(self) -> dict[str, str]:
        """What it says, in its parts, for JSON."""
        parts = {"problem": self.problem, "fix": self.fix}
        place = {"file": self.file, "module": self.module, "tensor": self.tensor}
        return {"kind": type(self).__name__, **parts, **place}

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
    """A file that cannot be read or written, or in which something cannot be used as it is.

    >>> try:
    ...     core.load("missing.safetensors")
    ... except core.FileError as error:
    ...     print(error)
    missing.safetensors: no such file; check the path
    """


class Occupied(FileError):
    """A file is in the place of an output that is to replace none.

    >>> style, _ = core.samples()
    >>> for _ in range(2):
    ...     try:
    ...         core.save(style, "copy.safetensors", replace=False).name
    ...     except core.Occupied as error:
    ...         print(error.problem)
    'copy.safetensors'
    is there already
    """


class SettingError(LoraError):
    """A setting, selector or name that means nothing, or nothing here.

    >>> try:
    ...     core.Output(dtype="fp4")
    ... except core.SettingError as error:
    ...     print(error)
    output dtype 'fp4' is unknown; choose one of match, fp32, fp16, bf16
    """


class EmptyRest(SettingError):
    """A second part was asked for, and the first one is everything.

    >>> style, _ = core.samples()
    >>> try:
    ...     core.select(style, "*", rest=core.Output())
    ... except core.EmptyRest as error:
    ...     print(error.problem)
    selector '*' takes every module, so there is no rest to write
    """


class MismatchError(LoraError):
    """Inputs that do not belong together.

    >>> import torch
    >>> style, _ = core.samples()
    >>> other = {"x.lora_up.weight": torch.ones(4, 2), "x.lora_down.weight": torch.ones(2, 4)}
    >>> try:
    ...     core.blend(style, other)
    ... except core.MismatchError as error:
    ...     print(error.problem.partition(":")[0])
    they share no module
    """


class Cancelled(Exception):
    """The caller's cancel check said stop. No output is left behind.

    >>> style, _ = core.samples()
    >>> try:
    ...     core.convert(style, core.Output(), core.Compute(cancelled=lambda: True))
    ... except core.Cancelled as stop:
    ...     print(stop)
    cancelled; nothing was written
    """


def one_of(name: str, value: object, choices: Collection[str]) -> None:
    """Raises SettingError where a setting is none of its choices.

    `name` is what the error calls the setting, `value` what was given, `choices` what may be.

    >>> core.one_of("spelling", "kohya", core.SPELLING_CHOICES)
    """
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
