"""The one exception that users see."""


class LoraError(ValueError):
    """A file, setting or name that cannot be honoured.

    Raised instead of guessing: a wrong guess writes a file that loads and is wrong. The message
    says what, where (file and tensor or module) and how to fix it, in one line; the command line
    and the ComfyUI nodes show it as it is.
    """


class Cancelled(Exception):
    """The caller's cancel check said stop. No output is left behind."""
