"""Which version of LoRA Alloy this is."""

from functools import cache
from pathlib import Path


@cache
def version() -> str:
    """The installed package's version, or the one in pyproject.toml of a plain folder.

    >>> core.version()
    '...'
    """
    project = Path(__file__).parents[1] / "pyproject.toml"
    if project.is_file():
        for line in project.read_text(encoding="utf-8").splitlines():
            if line.startswith("version = "):
                return line.split('"')[1]
    from importlib import metadata  # Takes longer than all else that `--help` needs.

    try:
        return metadata.version("lora-alloy")
    except metadata.PackageNotFoundError:
        return "unknown"
