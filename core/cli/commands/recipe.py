"""The command recipe."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ...errors import FileError, SettingError
from ...quoting import terminal
from ...reading.lora import Lora
from ...running.provenance import read_recipe
from ...storage.files import FileTensors
from ..catalogue import parser_of
from ..options import json_option
from ..outputs import LORA, claim, force_option
from ..parser import Parser
from ..printing import line, print_json
from ..recipe_settings import plain, translated

# A recipe is text that came with a file: it chooses among these, and says nothing of files.
COMMANDS = ("blend", "resize", "select", "convert")
FOUND, MISSING, OTHER, UNKNOWN = "found", "missing", "another file", "found, no hash to check"
NOT_A_SETTING = {"output", "rest", "json", "verify", "preview", "device", "help", "force"}


EXAMPLES = """
    # the commands that make it again
    lora-alloy recipe both.safetensors
    # run them
    lora-alloy recipe both.safetensors --run -o again.safetensors
"""


def options(parser: Parser) -> None:
    parser.add_argument("lora", metavar="A", help="a .safetensors file that LoRA Alloy wrote")
    parser.add_argument(
        "--inputs",
        metavar="DIR",
        help="where the files are that it was made of (default: with A)",
    )
    parser.add_argument(
        "--toml", action="store_true", help="as a recipe for lora-alloy run: inputs and steps"
    )
    parser.add_argument("--run", dest="runs", action="store_true", help="run them; needs -o OUT")
    parser.add_argument("-o", "--output", metavar="OUT", help="the file that --run makes")
    force_option(parser)
    json_option(parser)


@dataclass(frozen=True)
class Input:
    """A file that a command of the recipe reads. `state` says whether it is at hand.

    `made` says that an earlier command makes it.
    """

    name: str
    sha256: str | None
    path: Path
    state: str
    made: bool


@dataclass(frozen=True)
class Step:
    """One command. `problems` say what of the recipe no command line can say."""

    arguments: tuple[str, ...]
    problems: tuple[str, ...]
    made: Path
    sha256: str | None = None


class Plan:
    """The inputs and the commands of a recipe, the first one first.

    Files that the recipe starts from lie in `folder`; what is only made on the way goes to
    `between`. With `whole` that is so even where it is at hand.
    """

    def __init__(
        self, folder: Path, between: Path, options: argparse.Namespace, whole: bool
    ) -> None:
        self.whole = whole
        self.folder, self.between = folder, between
        self.inputs: dict[tuple[str, str | None], Input] = {}
        self.steps: list[Step] = []
        self.names: dict[Path, str] = {}

    def make(self, recipe: Mapping[str, Any], out: Path, sha256: str | None = None) -> None:
        """Add the commands that make `out`."""
        paths = [self._input(entry) for entry in recipe["inputs"]]
        arguments, problems = self._command(recipe, paths, out)
        self.steps.append(Step(tuple(arguments), tuple(problems), out, sha256))

    def _input(self, entry: Mapping[str, Any]) -> Path:
        name, digest = file_name(entry["name"]), entry["sha256"]
        path = self.folder / name
        state = state_of(path, digest)
        inner = entry.get("recipe")
        made = bool(inner) and (self.whole or state != FOUND)
        if inner and made:
            path = self._between(name, digest)
            if path not in (step.made for step in self.steps):
                self.make(inner, path, digest)
        self.inputs[name, digest] = Input(name, digest, path, state, made)
        return path

    def _between(self, name: str, digest: str | None) -> Path:
        """A path of its own for every file that is made on the way."""
        path, number = self.between / name, 2
        while self.names.setdefault(path, f"{name} {digest}") != f"{name} {digest}":
            path = self.between / f"{Path(name).stem}-{number}.safetensors"
            number += 1
        return path

    def _command(
        self, recipe: Mapping[str, Any], paths: Sequence[Path], out: Path
    ) -> tuple[list[str], list[str]]:
        name, settings = recipe["operation"], dict(recipe["settings"])
        if name not in COMMANDS:
            return [], [f"no command is called {terminal(name)}"]
        rest = settings.pop("part", "") == "rest"
        options, problems = [], []
        for key, value in translated(name, settings, len(paths)):
            action = parser_of(name)._option_string_actions.get("--" + key.replace("_", "-"))
            if key in NOT_A_SETTING:
                action = None
            if value is None or value in ("", [], False):
                continue
            if value == "a function":
                problems.append(f"{key} was given as a function of Python")
            elif action is None:
                problems.append(f"{terminal(key)}={terminal(str(value))} has no option")
            elif value is True:
                options.append(action.option_strings[-1])
            elif action.nargs == "+" and not all(isinstance(v, int | float) for v in value):
                problems.append(f"{terminal(key)}={terminal(str(value))} are no numbers")
            elif action.nargs == "+":
                options += [action.option_strings[-1], *map(plain, value)]
            elif value != action.default:
                options.append(f"{action.option_strings[-1]}={plain(value)}")
        kept = self.between / f"kept-of-{out.name}" if rest else out
        where = ["-o", str(kept), *(["--rest", str(out)] if rest else [])]
        return [name, *map(str, paths), *options, *where], problems


def file_name(text: str) -> str:
    """The name of a file in some folder, whatever a recipe says. Recipes come with files."""
    name = PureWindowsPath(PurePosixPath(text).name).name
    name = re.sub(r"[^\w .()+@=,~&-]", "_", name).strip(" .") or "unnamed"
    return name if name.endswith(".safetensors") else name + ".safetensors"


def state_of(path: Path, digest: str | None) -> str:
    """Whether the file is there, and the one that the recipe means."""
    if not path.is_file():
        return MISSING
    if digest is None:
        return UNKNOWN
    return FOUND if FileTensors(path).sha256() == digest else OTHER


def run(options: argparse.Namespace) -> None:
    if options.runs and not options.output:
        options.parser.error("--run needs -o OUT for the file that it makes")
    lora = Lora(options.lora)
    recipe = read_recipe(lora.metadata)
    if recipe is None:
        raise FileError(
            "has no recipe in its metadata",
            fix="take a file that LoRA Alloy wrote with its metadata",
            file=lora.name,
        )
    source = Path(options.lora)
    folder = Path(options.inputs) if options.inputs else source.parent
    if options.output and Path(options.output).resolve() == source.resolve():
        raise SettingError(f"{options.output}: is the file itself", fix="choose another")
    if not options.runs:
        out = Path(options.output) if options.output else source.with_name("again-" + source.name)
        plan = Plan(folder, folder, options, whole=True)
        plan.make(recipe, out)
        _show(plan, options)
        return
    claim(options, [options.lora], (options.output, LORA))
    target = Path(options.output)
    with tempfile.TemporaryDirectory(prefix="lora-alloy-") as between:
        plan = Plan(folder, Path(between), options, whole=False)
        plan.make(recipe, target)
        _run(plan, options, target)
    same = FileTensors(target).data_sha256() == FileTensors(source).data_sha256()
    line(
        f"{target}: the tensors of {source.name}, to the bit"
        if same
        else f"{target}: not to the bit the tensors of {source.name}: another version, processor "
        "or device computes other last digits; lora-alloy verify measures the difference"
    )


def _show(plan: Plan, options: argparse.Namespace) -> None:
    if options.toml:
        _show_toml(plan)
        return
    if options.json:
        inputs = [
            {"name": i.name, "sha256": i.sha256, "state": i.state} for i in plan.inputs.values()
        ]
        steps = [{"command": list(s.arguments), "problems": list(s.problems)} for s in plan.steps]
        print_json({"inputs": inputs, "steps": steps}, options)
        return
    for one in plan.inputs.values():
        digest = one.sha256[:12] if one.sha256 else "unknown"
        made = ", made by a command below" if one.made else ""
        line(f"# {one.name}: {one.state} (sha256 {terminal(digest)}){made}")
    for step in plan.steps:
        for problem in step.problems:
            line(f"# not on the command line: {problem}")
        if step.arguments:
            line("lora-alloy " + " ".join(map(quoted, step.arguments)))


def _show_toml(plan: Plan) -> None:
    """The plan as a recipe that `lora-alloy run` reads."""
    names = {i.path: Path(i.name).stem for i in plan.inputs.values()}
    line("[inputs]")
    for one in plan.inputs.values():
        if not one.made:
            digest = f", sha256 = {_toml(one.sha256)}" if one.sha256 else ""
            line(f"{_toml(names[one.path])} = {{ name = {_toml(one.name)}{digest} }}")
    for number, step in enumerate(plan.steps):
        last = number == len(plan.steps) - 1
        name = step.made.stem if last else names[step.made]
        line()
        line(f"[steps.{_toml(name)}]")
        for problem in step.problems:
            line(f"# not in a recipe: {problem}")
        options = parser_of(step.arguments[0]).parse_args(list(step.arguments[1:]))
        given = getattr(options, "loras", None) or [options.lora]
        line(f"command = {_toml(step.arguments[0])}")
        line(f"inputs = [{', '.join(_toml(names[Path(path)]) for path in given)}]")
        for key, value in vars(options).items():
            action = next((a for a in options.parser._actions if a.dest == key), None)
            if action is None or not action.option_strings or value == action.default:
                continue
            text = Path(value).name if key in ("output", "rest") else value
            line(f"{action.option_strings[-1][2:]} = {_toml(text)}")


def _toml(value: Any) -> str:
    """A value in TOML, whose texts are those of JSON."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def quoted(argument: str) -> str:
    """For a POSIX shell; what a terminal would obey is spelled in the shell's own way."""
    if argument.isprintable():
        return shlex.quote(argument)
    escaped = argument.encode("unicode_escape").decode().replace("'", "\\'")
    return f"$'{escaped}'"


def _run(plan: Plan, options: argparse.Namespace, target: Path) -> None:
    for one in plan.inputs.values():
        if one.state in (MISSING, OTHER) and not one.made:
            problem = (
                "is not there" if one.state == MISSING else "is not the file that was used then"
            )
            raise FileError(
                f"{problem} (sha256 {one.sha256 or 'unknown'})",
                fix="--inputs DIR says where to look",
                file=str(one.path),
            )
    for step in plan.steps:
        if step.problems:
            raise SettingError(
                f"the recipe of {step.made.name} cannot be run: {step.problems[0]}",
                fix="run its commands by hand",
            )
    for step in plan.steps:
        line("$ lora-alloy " + " ".join(map(quoted, step.arguments)))
        forced = ["--force"] if options.force and step.made == target else []
        if options.program([*step.arguments, *forced]) != 0:
            raise FileError("the command above failed", fix="see its message", file=str(step.made))
        if step.sha256 and FileTensors(step.made).sha256() != step.sha256:
            line(f"{step.made.name}: not the same bytes as then, such as another date")
