"""Which files a command works on, and what the file of each is called that it writes."""

from __future__ import annotations

import argparse
import glob
import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileError, SettingError
from .outputs import LORA
from .parser import Parser


@dataclass(frozen=True)
class Job:
    """A file to read, and by their options the files to write. `folder` is its place in what was
    given: a file of `loras/sdxl` has the folder `sdxl` where `loras` was given."""

    path: str
    folder: str
    number: int
    outputs: Mapping[str, str | None]
    more: Mapping[str, Any] = field(default_factory=dict)

    def options(self, given: argparse.Namespace) -> argparse.Namespace:
        """What was given, for this file alone."""
        return argparse.Namespace(**{**vars(given), **self.outputs, **self.more, "lora": self.path})

    @property
    def files(self) -> list[str]:
        return [path for path in self.outputs.values() if path is not None]


def files_argument(parser: Parser, name: str = "loras", metavar: str = "A") -> None:
    parser.add_argument(
        name,
        metavar=metavar,
        nargs="+",
        help=".safetensors files, folders, or patterns such as 'loras/*flux*'",
    )
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="take the folders in a folder, too"
    )


def many_options(parser: Parser) -> None:
    """What matters for several files only."""
    group = parser.add_argument_group("several files")
    group.add_argument(
        "--skip-existing", action="store_true", help="leave out what has been written already"
    )
    group.add_argument("--dry-run", action="store_true", help="say what would be written, only")
    run_options(group)


def run_options(group: Any) -> None:
    group.add_argument(
        "--continue",
        dest="go_on",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on after a file that fails (the default); status 1 in the end",
    )
    group.add_argument("--jobs", type=int, default=1, metavar="N", help="files at once (default 1)")


def found(given: Sequence[str], recursive: bool) -> list[tuple[str, str]]:
    """(file, its folder in what was given). Raises FileError where there is none.

    A file that is named twice is there twice: two inputs of a blend can be the same.
    """
    result: list[tuple[str, str]] = []
    for text in given:
        if os.path.isdir(text):
            files = _inside(Path(text), recursive)
            if not files:
                raise FileError(
                    "has no .safetensors file in it",
                    fix="give another folder, or -r for the folders in it" if not recursive else
                    "give another folder",
                    file=text,
                )  # fmt: skip
        elif glob.has_magic(text) and not os.path.lexists(text):
            # Shells of Windows do not do it.
            files = [(path, "") for path in sorted(glob.glob(text, recursive=True))]
            if not files:
                raise FileError("no file is called like that", fix="check the pattern", file=text)
        else:
            result.append((text, ""))
            continue
        seen = {path for path, _ in result}
        result += [one for one in files if one[0] not in seen]
    return result


def _inside(folder: Path, recursive: bool) -> list[tuple[str, str]]:
    paths = folder.rglob("*") if recursive else folder.glob("*")
    files = sorted(p for p in paths if p.suffix.lower() in LORA and p.is_file())
    return [
        (str(p), "" if p.parent == folder else str(p.parent.relative_to(folder))) for p in files
    ]


def jobs(
    options: argparse.Namespace, outputs: Mapping[str, Sequence[str]], given: Sequence[str]
) -> list[Job]:
    """A job for every file. `outputs` are the options that name outputs, with their endings.

    Raises FileError and SettingError where names are not those of one file each.
    """
    files = found(given, options.recursive)
    several = len(files) > 1
    result = []
    for number, (path, folder) in enumerate(files, 1):
        names = {
            option: _named(options, option, endings[0], path, folder, number, several)
            for option, endings in outputs.items()
        }
        result.append(Job(path, folder, number, names))
    return result


def _named(
    options: argparse.Namespace, option: str, ending: str, path: str, folder: str, number: int,
    several: bool,
) -> str | None:  # fmt: skip
    """The path that an option means for one of the files."""
    template: str | None = getattr(options, option)
    if template is None:
        return None
    if template.endswith(("/", os.sep)) or os.path.isdir(template):
        return os.path.join(template, folder, Path(path).stem + ending)
    if "{" in template:
        fields = {"stem": Path(path).stem, "folder": folder, "number": number}
        return filled(template, {**settings_of(options), **fields})
    if several:
        raise SettingError(
            f"--{option} {template} is one file, and there are several to write",
            fix=f"give a folder ({Path(template).stem}{os.sep}) or a name with {{stem}} in it",
        )
    return template


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What of the options can stand in a name."""
    kinds = str, int, float
    left_out = ("output", "rest", "command", "color", "log", "lora")
    return {
        name: value
        for name, value in vars(options).items()
        if isinstance(value, kinds) and not isinstance(value, bool) and name not in left_out
    }


def filled(template: str, fields: Mapping[str, Any]) -> str:
    """The template with its {fields}. Raises SettingError for one that is not there."""
    try:
        named = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        unknown = [name for name in named if name not in fields]
        if not unknown:
            return template.format_map(
                {k: f"{v:g}" if isinstance(v, float) else v for k, v in fields.items()}
            )
    except (ValueError, KeyError, IndexError) as error:
        raise SettingError(
            f"{template!r} is no name ({error})", fix="write {{ for a { that is meant"
        ) from error
    raise SettingError(
        f"{{{unknown[0]}}} in {template!r} has no value here",
        fix=f"there are {', '.join(f'{{{name}}}' for name in sorted(fields))}",
    )


def make_folders(paths: Sequence[str]) -> None:
    """Make the folders of templates. Raises FileError where that cannot be."""
    for folder in dict.fromkeys(os.path.dirname(path) for path in paths):
        try:
            os.makedirs(folder or ".", exist_ok=True)
        except OSError as error:
            problem = f"cannot be made a folder ({error.strerror})"
            raise FileError(problem, fix="choose another", file=folder) from error


def is_template(text: str | None) -> bool:
    """Whether a name stands for many: then the folders that it needs are made."""
    return text is not None and (text.endswith(("/", os.sep)) or "{" in text)
