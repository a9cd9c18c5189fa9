"""The command run."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from ...errors import FileError
from ...storage.atomic import write_file
from ...version import version
from ..inputs import make_folders
from ..options import json_option
from ..parser import Parser
from ..printing import LOOK, print_json, say, table
from ..recipes import Recipe, Step
from .recipe import quoted

EXAMPLES = """
    # every step of a recipe that is not up to date
    lora-alloy run recipe.toml
    # one of them, and what it needs
    lora-alloy run recipe.toml --only small
    # what would be run
    lora-alloy run recipe.toml --dry-run
    # a recipe from a file that was made here
    lora-alloy recipe both.safetensors --toml
"""


def options(parser: Parser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a .toml file of inputs and steps")
    parser.add_argument(
        "--only", action="append", default=[], metavar="STEP", help="this step, and what it needs"
    )
    parser.add_argument("--again", action="store_true", help="also what is up to date")
    parser.add_argument("--dry-run", action="store_true", help="show the commands only")
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    recipe = Recipe(options.recipe)
    steps = list(recipe.wanted(options.only))
    seen = Seen(Path(options.recipe).with_suffix(".lock"))
    fates: dict[str, str] = {}
    made: set[Path] = set()
    for step in steps:
        stale = options.again or bool(made & set(step.reads)) or not seen.knows(step)
        if options.dry_run:
            fates[step.name] = "would be made" if stale else "up to date"
            made |= set(step.writes) if stale else set()
            if not options.json:
                say([f"# {step.name}: {fates[step.name]}"], "bold")
                say(["lora-alloy " + " ".join(map(quoted, step.arguments))])
            continue
        if not stale:
            fates[step.name] = "up to date"
            continue
        if not options.json:
            say([f"# {step.name}"], "bold")
        make_folders([str(path) for path in step.writes])
        force = ["--force"] * (bool(step.writes))
        quiet = ["--quiet"] * (options.json or LOOK.quiet)
        if options.program([*step.arguments, *force, *quiet]) != 0:
            problem = f"step {step.name!r} failed"
            raise FileError(problem, fix="see its message above", file=options.recipe)
        seen.remember(step)
        made |= set(step.writes)
        fates[step.name] = "made"
    if options.json:
        print_json({"steps": fates}, options)
        return 0
    rows = [
        (name, fate, " ".join(path.name for path in recipe.steps[name].writes))
        for name, fate in fates.items()
    ]
    table(("step", "what became of it", "files"), rows)
    return 0


class Seen:
    """What was made the last time: a step is up to date where its command, the files that it read
    and those that it wrote are the same to the bit. It stands beside the recipe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: dict[str, Any] = {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            self.steps = dict(found["steps"]) if found["version"] == version() else {}
        except (OSError, ValueError, LookupError, TypeError):
            pass  # Not there, or not ours: then everything is made again.

    def knows(self, step: Step) -> bool:
        there = all(path.is_file() for path in (*step.reads, *step.writes))
        return there and bool(step.writes) and self.steps.get(step.name) == self._state(step)

    def remember(self, step: Step) -> None:
        if step.writes:
            self.steps[step.name] = self._state(step)
            text = json.dumps({"version": version(), "steps": self.steps}, indent=1)
            write_file(self.path, text.encode())

    def _state(self, step: Step) -> dict[str, Any]:
        base = self.path.resolve().parent
        texts = [text.replace(str(base), ".") for text in step.arguments]
        files = {
            str(path).replace(str(base), "."): _digest(path) for path in (*step.reads, *step.writes)
        }
        return {"command": texts, "files": files}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
