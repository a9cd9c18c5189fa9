"""A run as a file: recipe.toml, read and checked; errors name its lines."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileError, SettingError
from ..storage.files import FileTensors
from .catalogue import ALIASES, SUMMARIES, called, parser_of
from .parser import UsageError, suggestion

MAKING = (
    *("blend", "average", "resize", "select", "top-blocks", "convert", "metadata"),
    *("analyze", "compare", "verify", "info", "extract", "apply"),
)
TOP = ("extends", "search", "inputs", "steps")
DEEPEST = 10  # files that extend each other


@dataclass(frozen=True)
class Step:
    """One command of a recipe, as a command line; what it reads and writes of files."""

    name: str
    arguments: tuple[str, ...]
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    needs: tuple[str, ...]


class Recipe:
    """The steps of a recipe in the order in which they stand. Raises FileError naming the line."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.folder = self.path.resolve().parent
        self.content, self.sources = _whole(self.path)
        self.check("", self.content, TOP)
        self.inputs = {name: self._input(name) for name in self.content.get("inputs", {})}
        self.steps: dict[str, Step] = {}
        self.outputs: dict[str, Path] = {}
        for name, step in self.content.get("steps", {}).items():
            self.steps[name] = self._step(name, step)
        if not self.steps:
            raise FileError("has no steps", fix="add [steps.NAME] with a command", file=path)

    def check(self, where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                problem = f"there is no {key!r} here{suggestion(key, known)}"
                raise self.error(where, key, problem, f"known are {', '.join(known)}")

    def error(self, where: str, key: str, problem: str, fix: str) -> FileError:
        """What is wrong with a key of a table, `steps.both`, with its line."""
        for source, text in self.sources:
            if (line := line_of(text, where, key)) is not None:
                return FileError(problem, fix=fix, file=f"{source}:{line}")
        return FileError(problem, fix=fix, file=str(self.path))

    def _input(self, name: str) -> Path:
        """The file that an input is: by its name, by its hash, or by both."""
        entry = self.content["inputs"][name]
        wanted = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(wanted, dict) or not wanted or not set(wanted) <= {"name", "sha256"}:
            fix = 'write "file.safetensors", or { name = "...", sha256 = "..." }'
            raise self.error("inputs", name, f"input {name!r} is no file", fix)
        digest = wanted.get("sha256", "").lower()
        if "name" in wanted:
            path = self.folder / str(wanted["name"])
            if path.is_file() and (not digest or _has(path, digest)):
                return path
        if digest:
            more = [self.folder / str(one) for one in self.content.get("search", [])]
            folders = [self.folder, *more]
            for path in (p for folder in folders for p in sorted(folder.glob("*.safetensors"))):
                if _has(path, digest):
                    return path
        shown = wanted.get("name") or f"sha256 {digest[:12]}"
        problem = f"input {name!r}, {shown}, is not there"
        if "name" in wanted and digest and (self.folder / wanted["name"]).is_file():
            problem = f"input {name!r}, {shown}, is another file than the recipe means"
        raise self.error(
            "inputs", name, problem, 'check it, or say where to look: search = ["dir"]'
        )

    def _step(self, name: str, step: Any) -> Step:
        where = f"steps.{name}"
        if not isinstance(step, dict) or not isinstance(step.get("command"), str):
            fix = f"write [{where}] with command = one of {', '.join(MAKING)}"
            raise self.error("steps", name, f"step {name!r} has no command", fix)
        command = called(step["command"])
        if command not in MAKING or command not in SUMMARIES:
            problem = f"no step is a {command!r}{suggestion(command, (*MAKING, *ALIASES))}"
            raise self.error(where, "command", problem, f"choose among {', '.join(MAKING)}")
        given = step.get("inputs", [])
        sources = given if isinstance(given, list) else [given]
        reads = [self._source(where, source) for source in sources]
        arguments = [command, *map(str, reads)]
        writes: list[Path] = []
        options = parser_of(command)._option_string_actions
        for key, value in step.items():
            if key in ("command", "inputs"):
                continue
            option = "--" + key.replace("_", "-")
            if option not in options or options[option].dest in ("help", "json", "force"):
                known = [o[2:] for o in options if o.startswith("--")]
                problem = f"{command} has no {key!r}{suggestion(key, known)}"
                raise self.error(where, key, problem, f"lora-alloy {command} --help lists them")
            if key in ("output", "rest", "csv", "chart", "trainer_output", "trainer-output"):
                path = self.folder / str(value)
                writes.append(path)
                value = str(path)
            if key == "base" or (key in ("model", "tuned")):
                value = str(self._source(where, value))
            arguments += _words(option, value)
        parser = parser_of(command)
        parser.raising = True
        try:
            parser.parse_args(arguments[1:])
        except UsageError as error:
            wrong = re.search(r"argument (?:-\w/)?--([\w-]+)", str(error))
            keys = [k for k in step if wrong and k.replace("_", "-") == wrong[1]]
            at = keys[0] if keys else "command"
            raise self.error(where, at, str(error), f"lora-alloy {command} --help") from error
        finally:
            parser.raising = False
        if "output" in step:
            self.outputs[name] = writes[
                [k for k in step if k in ("output", "rest")].index("output")
            ]
        needs = tuple(source for source in sources if source in self.steps)
        return Step(name, tuple(arguments), tuple(reads), tuple(writes), needs)

    def _source(self, where: str, source: Any) -> Path:
        """What a step reads: an input, or what an earlier step writes."""
        known = {**self.inputs, **self.outputs}
        if source not in known:
            problem = f"{source!r} is no input and no earlier step{suggestion(str(source), known)}"
            raise self.error(where, "inputs", problem, "list it in [inputs]")
        return known[source]

    def wanted(self, only: list[str]) -> Iterator[Step]:
        """The steps that are asked for, and those that they need."""
        for name in only:
            if name not in self.steps:
                hint = suggestion(name, self.steps)
                raise SettingError(f"there is no step {name!r}{hint}",
                                   fix=f"choose among {', '.join(self.steps)}")  # fmt: skip
        needed, todo = set(only), list(only)
        while todo:
            for name in self.steps[todo.pop()].needs:
                if name not in needed:
                    needed.add(name)
                    todo.append(name)
        return (step for step in self.steps.values() if not only or step.name in needed)


def _whole(path: Path, depth: int = DEEPEST) -> tuple[dict[str, Any], list[tuple[Path, str]]]:
    """(content, [(file, text)]): of what it extends tables are joined, single settings replaced."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise FileError(problem, fix="check the path", file=str(path)) from error
    except ValueError as error:
        line = re.search(r"line (\d+)", str(error))
        file = f"{path}:{line[1]}" if line else str(path)
        raise FileError(f"is no TOML ({error})", fix="mend it there", file=file) from error
    if "extends" not in content:
        return content, [(path, text)]
    if not depth:
        raise FileError("extends files without end", fix="cut the circle", file=str(path))
    below, sources = _whole(path.parent / str(content["extends"]), depth - 1)
    return _joined(below, content), [(path, text), *sources]


def _joined(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = (
            _joined(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return both


def line_of(text: str, where: str, key: str) -> int | None:
    """The number of the line of a key in a table of a TOML text; that of the table without it."""
    table, header = "", None
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = re.sub(r"[\s\"']", "", found[1])
            header = number if table in (where, f"{where}.{key}".strip(".")) else header
        elif table == where and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
            return number
    return header


def _words(option: str, value: Any) -> list[str]:
    """A setting as a command line has it."""
    if value is True:
        return [option]
    if value is False:
        return []
    if isinstance(value, list):
        return [option, *map(_plain, value)]
    return [f"{option}={_plain(value)}"]


def _plain(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


def _has(path: Path, digest: str) -> bool:
    return FileTensors(path).sha256().startswith(digest)
