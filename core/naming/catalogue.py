"""All families that there are: one for each file in `families/`."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from .family import Family

_PACKAGE = f"{__name__.rpartition('.')[0]}.families"


def _found() -> list[Family]:
    files = iter_modules([str(Path(__file__).with_name("families"))])
    families: list[Family] = [import_module(f"{_PACKAGE}.{file.name}").FAMILY for file in files]
    return sorted(families, key=lambda family: family.order)


FAMILIES = tuple(_found())
