"""Would the tests notice? Changes one operator, number or condition at a time and runs the tests.

    python -m tests.trust.mutations [FILE ...] [--every N]

Prints every change that no test noticed, then the counts; exits with status 1 if there are any.
`--every 5` tries every fifth change. Each change is tried in a process of its own, forked from one
that has torch loaded: this needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import ast
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import hypothesis  # noqa: F401 - loaded once instead of once for each change
import pytest
import safetensors.torch  # noqa: F401
import torch

ROOT = Path(__file__).parents[2]
SECONDS = 120  # What makes a loop endless counts as noticed.

# The tests that state what a file does, those that notice most first.
KINDS = ("adapters/test_kinds", "adapters/test_grouping", "algebra/test_kronecker")
GROUPING = (
    "adapters/test_adapter",
    "adapters/test_grouping",
    "adapters/test_kinds",
    "test_bad_input",
    "reading/test_lora",
    "reading/test_dialects",
)
TESTS = {
    "core/algebra/low_rank.py": (
        "algebra/test_low_rank",
        "algebra/test_update",
        "algebra/test_randomised",
        "running/test_layout",
        "running/test_output",
        "running/test_encoding",
        "edits/test_unchanged",
    ),
    "core/algebra/decomposition.py": ("algebra/test_low_rank", "algebra/test_gram"),
    "core/algebra/sketch.py": ("algebra/test_sketch",),
    "core/algebra/sizes.py": ("algebra/test_sizes",),
    "core/algebra/update.py": (
        "algebra/test_update",
        "adapters/test_kinds",
        "test_mixtures",
        "running/test_layout",
        "edits/test_blend",
    ),
    "core/algebra/kronecker.py": ("algebra/test_kronecker", "adapters/test_kinds"),
    "core/algebra/hadamard.py": ("algebra/test_hadamard", "adapters/test_kinds"),
    "core/algebra/precision.py": ("algebra/test_precision", "test_extremes"),
    "core/algebra/randomised.py": ("algebra/test_randomised",),
    "core/algebra/bins.py": (
        "algebra/test_bins",
        "insight/test_elements",
        "merging/test_element_wise",
    ),
    "core/algebra/common_space.py": ("algebra/test_common_space", "merging/test_in_space"),
    "core/algebra/range_finder.py": ("algebra/test_range_finder", "merging/test_merge"),
    "core/algebra/gram.py": ("algebra/test_gram", "algebra/test_low_rank", "algebra/test_lapack"),
    "core/algebra/rank_rules.py": ("algebra/test_rank_rules", "edits/test_resize"),
    "core/adapters/adapter.py": GROUPING,
    "core/adapters/grouping.py": GROUPING,
    "core/adapters/kind.py": ("adapters/test_grouping", "adapters/test_kinds", "test_extending"),
    "core/adapters/lora.py": KINDS,
    "core/adapters/loha.py": KINDS,
    "core/adapters/lokr.py": KINDS,
    "core/adapters/full.py": KINDS,
    "core/adapters/base_dependent.py": KINDS,
    "core/adapters/with_base.py": ("adapters/test_with_base",),
    "core/adapters/foreign.py": ("adapters/test_foreign",),
}
OTHER = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.LShift: ast.RShift, ast.MatMult: ast.Add, ast.BitAnd: ast.BitOr,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def slots(tree: ast.AST) -> Iterator[tuple[ast.AST, Any, Callable[[Any], None]]]:
    """(parent, child, how to put something else in its place), for the whole tree."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if isinstance(value, list):
                yield from ((parent, v, partial(value.__setitem__, i)) for i, v in enumerate(value))
            else:
                yield parent, value, partial(setattr, parent, field)


def instead(parent: ast.AST, child: Any) -> Any:
    """What to try in place of this part of a program, or None."""
    if type(child) in OTHER:
        return OTHER[type(child)]()
    if isinstance(child, ast.Constant) and isinstance(child.value, (bool, int, float)):
        new = not child.value if isinstance(child.value, bool) else child.value + 1
        return ast.copy_location(ast.Constant(new), child)
    if isinstance(child, ast.UnaryOp) and isinstance(child.op, (ast.Not, ast.USub)):
        return child.operand
    plain = isinstance(child, ast.expr) and not isinstance(child, (ast.Compare, ast.UnaryOp))
    if plain and child is getattr(parent, "test", None):
        return ast.copy_location(ast.UnaryOp(ast.Not(), child), child)
    return None


def changes(source: str) -> Iterator[tuple[str, CodeType]]:
    """(line and change as a reader sees them, the whole program with it), one by one."""
    tree = ast.parse(source)
    for parent, child, put in list(slots(tree)):
        if (new := instead(parent, child)) is None:
            continue
        line = source.splitlines()[parent.lineno - 1].strip() if hasattr(parent, "lineno") else ""
        before = ast.unparse(parent)
        put(new)
        ast.fix_missing_locations(tree)
        after = ast.unparse(parent)
        where = getattr(parent, "lineno", 0)
        shown = f"{before} -> {after}" if len(before + after) < 150 else f"{line}: {_name(new)}"
        yield f"{where}: {shown}", compile(tree, "changed", "exec")
        put(child)


def _name(new: ast.AST) -> str:
    return ast.unparse(new) if isinstance(new, ast.expr) else type(new).__name__


def noticed(path: Path, code: CodeType, tests: list[str]) -> bool:
    """Whether the tests fail, or do not end, with this code in place of the file's."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        load = SourceFileLoader.get_code
        SourceFileLoader.get_code = (  # type: ignore[method-assign]
            lambda self, name: code if self.path == str(path) else load(self, name)
        )
        status = 1
        try:
            status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] != 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", default=list(TESTS), metavar="FILE")
    parser.add_argument("--every", type=int, default=1, metavar="N")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    torch.set_num_threads(1)
    tried = missed = 0
    for file in arguments.files:
        source = (ROOT / file).read_text("ascii")
        tests = [f"tests/core/{name}.py" for name in TESTS[file]]
        if noticed(ROOT / file, compile(source, file, "exec"), tests):
            parser.error(f"{file}: its tests fail without any change")
        for what, code in list(changes(source))[:: arguments.every]:
            tried += 1
            if not noticed(ROOT / file, code, tests):
                missed += 1
                print(f"{file}:{what}", flush=True)
    print(f"{tried} changes, {missed} of them not noticed")
    return 0 if missed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
