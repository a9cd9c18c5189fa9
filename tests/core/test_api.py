"""What the library offers: the names, their arguments, and that each says what it does.

Examples stand in the docstrings and run here, each in an empty folder. `api.json` pins names,
arguments and defaults; `python -m tests.pin_contracts` writes it.
"""

import ast
import doctest
import inspect
import json
import os
import re
from pathlib import Path

import pytest

import core
from core.insight.statistics import TENSOR_STATISTICS, UPDATE_STATISTICS
from tests.core.api import described

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
THINGS = {name: getattr(core, name) for name in core.__all__}
CALLABLE = {name: thing for name, thing in THINGS.items() if callable(thing)}
# These draw, or measure with pandas, which takes its time to be imported.
SLOW = re.compile(r"chart|png|analyze|table|block|explain|statistic|trainer|Choice|verify")


def test_names_arguments_and_defaults_are_those_of_the_contract():
    found = described()
    assert found == json.loads((HERE / "api.json").read_text("ascii")), json.dumps(found, indent=1)


@pytest.fixture
def registries():
    """What an example registers is forgotten after it."""
    before = [(registry, dict(registry)) for registry in (TENSOR_STATISTICS, UPDATE_STATISTICS)]
    yield
    for registry, content in before:
        registry.clear()
        registry.update(content)


def examples(name: str) -> doctest.DocTest:
    text = inspect.cleandoc(CALLABLE[name].__doc__ or "")
    return doctest.DocTestParser().get_doctest(text, {"core": core}, f"core.{name}", None, None)


@pytest.mark.slow
@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if SLOW.search(n) else ()) for n in CALLABLE],
)
def test_the_example_of_every_function_and_class_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = examples(name)
    assert test.examples, f"core.{name} has no example"
    told = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=told.append)
    assert runner.failures == 0, "".join(told)


def test_every_argument_is_explained():
    """By its name in the docstring of the function or class."""
    for name, thing in CALLABLE.items():
        if inspect.isclass(thing) and issubclass(thing, Exception):
            continue
        text = inspect.getdoc(thing)
        for argument in inspect.signature(thing).parameters:
            assert re.search(rf"\b{argument}\b", text), f"core.{name}: {argument}"


def test_the_list_of_names_is_what_is_imported():
    """By type checkers and when the program runs; and everything comes from where it is made."""
    tree = ast.parse((ROOT / "core" / "__init__.py").read_text(encoding="ascii"))
    here = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    homes = {alias.name: node.module for node in here for alias in node.names}
    assert sorted(homes) == sorted(core.__all__)
    later = {name: home for home, names in core.HOMES.items() for name in names.split()}
    assert later.items() <= homes.items()
    ground = {name for name, home in homes.items() if home is None or "." not in home}
    assert later.keys() | ground == homes.keys()


def test_nodes_reach_past_the_list_for_nothing():
    for path in (ROOT / "nodes").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="ascii"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "core":
                assert (node.level, node.module) == (2, "core"), f"{path}: {node.module}"
                assert {a.name for a in node.names} <= set(core.__all__), path
            elif isinstance(node, ast.ImportFrom) and node.level == 2 and not node.module:
                assert "core" not in {alias.name for alias in node.names}, path


def test_type_checkers_are_told_that_there_are_types():
    assert (ROOT / "core" / "py.typed").read_bytes() == b""
    listed = re.search(
        r'^"lora_alloy\.core" = (\[.*\])$', (ROOT / "pyproject.toml").read_text(), re.M
    )
    assert "py.typed" in ast.literal_eval(listed[1])


def test_the_samples_are_there():
    assert all(os.path.isfile(path) for path in core.samples())
