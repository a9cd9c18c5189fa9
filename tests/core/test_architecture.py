"""The rules of the design that only the source can show: floors, imports, ASCII, dependencies."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core"
SOURCES = sorted(path for path in CORE.rglob("*.py"))

# From the ground up. A file imports from its own floor and from those below it, never from above.
FLOORS = (
    "quoting",
    "errors version shipped deferred",
    "storage algebra",  # side by side: bytes and matrices know nothing of each other
    "naming",
    "adapters",
    "reading",
    "running",
    "merging",
    "edits insight",  # side by side, too
    "python",
    "cli",
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
FOREIGN = ("comfy", "comfy_api", "comfy_extras", "folder_paths", "server", "nodes", "execution")
ALLOWED = {"torch", "safetensors", "numpy", "pandas", "matplotlib", "rich", "tomli", "peft"}


def module_of(path: Path) -> str:
    """The name that a file counts under: its own, or that of its folder inside core."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


@functools.cache
def imports(path: Path) -> list[tuple[str | None, str]]:
    """[(room of core, dotted name inside core)] if relative, [(None, package)] otherwise."""
    found: list[tuple[str | None, str]] = []
    inside = path.relative_to(CORE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(None, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((None, str(node.module).split(".")[0]))
        elif isinstance(node, ast.ImportFrom):
            assert node.level - 1 <= len(inside), f"{path}: imports from above core"
            above = inside[: len(inside) - node.level + 1]
            steps = [*above, *(node.module.split(".") if node.module else [])]
            found += [((*steps, alias.name)[0], ".".join(steps)) for alias in node.names]
            found += [(steps[0], ".".join([*steps, alias.name])) for alias in node.names if steps]
    return found


def test_imports_point_down_only():
    for path in SOURCES:
        own = module_of(path)
        if own in ("__init__", "__main__"):
            continue  # The front doors may name everything, and nothing inside may use them.
        for name, _ in imports(path):
            below = name in (None, own) or FLOOR_OF[name] < FLOOR_OF[own]
            assert below, f"{path} imports {name}, which is not below it"


def test_every_folder_is_a_floor_and_says_what_it_is_for():
    rooms = {module_of(path) for path in SOURCES} - {"__init__", "__main__"}
    assert set(FLOOR_OF) == rooms
    for path in CORE.rglob("__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{path} does not say what belongs there"
        assert path.parent == CORE or len(tree.body) == 1, f"{path}: a docstring and nothing else"


@functools.cache
def also_of(path: Path) -> list[str]:
    """The files that a test file's head names beside its own: "Also of x.py, y.py: the reason"."""
    head = ast.get_docstring(ast.parse(path.read_text(encoding="ascii"))) or ""
    found = re.findall(r"^Also of (.*?):", head, re.M)
    return [name for line in found for name in line.split(", ")]


def test_every_source_has_its_tests_or_a_line_that_says_where():
    """core/a/b.py has tests/core/a/test_b.py, or the head of a test in that folder names it."""
    here = Path(__file__).parent
    for path in SOURCES:
        if path.name in ("__init__.py", "__main__.py"):
            continue  # docstrings, and what starts the command line
        room, *inside = path.relative_to(CORE).parts
        folder = here / room if inside else here
        if (folder / f"test_{path.name}").exists():
            continue
        names = {"/".join(inside) or room, *([f"{inside[0]}/*.py"] if len(inside) > 1 else [])}
        also = [name for test in folder.glob("test_*.py") for name in also_of(test)]
        assert names & set(also), f"{path}: no test file, and none names it"


def test_what_test_files_name_beside_their_own_is_there():
    for path in sorted(Path(__file__).parent.glob("*/test_*.py")):
        for name in also_of(path):
            assert list((CORE / path.parent.name).glob(name)), f"{path} names {name}"


@pytest.mark.slow
def test_a_blend_walks_through_few_rooms():
    """The folders that a blend of two files enters, from the outside in."""
    code = (
        "import sys, core; a = 'core/samples/style_diffusers.safetensors'; seen = set()\n"
        "def watch(frame, event, _):\n"
        "    name = frame.f_globals.get('__name__', '').split('.')\n"
        "    if event == 'call' and name[0] == 'core' and len(name) > 2: seen.add(name[1])\n"
        "sys.setprofile(watch); core.blend(a, a, compute=core.Compute(workers=1))\n"
        "sys.setprofile(None); print(*sorted(seen))"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert len(result.stdout.split()) <= 8, result.stdout


def test_no_circle_of_imports():
    def own(path: Path) -> str:
        return ".".join(path.relative_to(CORE).with_suffix("").parts)

    paths = [path for path in SOURCES if path.name not in ("__init__.py", "__main__.py")]
    names = {own(path) for path in paths}
    needs = {own(path): {full for _, full in imports(path) if full in names} for path in paths}
    while needs:
        free = {name for name, others in needs.items() if not others & needs.keys()}
        assert free, f"a circle of imports among {sorted(needs)}"
        needs = {name: others for name, others in needs.items() if name not in free}


def test_core_knows_nothing_of_comfyui():
    for path in SOURCES:
        packages = {package for name, package in imports(path) if name is None}
        assert not packages & set(FOREIGN), path
        # The package itself only by relative imports: it has another name once it is installed.
        assert not packages & {"core", "lora_alloy"}, path
        assert packages - set(sys.stdlib_module_names) <= ALLOWED, path


def test_torch_and_numpy_are_imported_when_they_are_used():
    """By core/deferred.py: what needs no arithmetic starts without them."""
    for path in SOURCES:
        if path.name != "deferred.py":
            packages = {package for name, package in imports(path) if name is None}
            assert not packages & {"torch", "numpy"}, f"{path}: from ..deferred import torch, np"


def test_sources_are_ascii_and_short():
    for path in SOURCES:
        text = path.read_bytes()
        assert text.isascii(), path
        assert text.count(b"\n") <= 350, path


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return set(result.stdout.split())


@pytest.mark.slow
def test_importing_everything_loads_no_package_that_takes_its_time():
    """Of every file by itself: some are imported only where they are needed."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    loaded = modules_after("import " + ", ".join(names))
    assert set(names) <= loaded
    assert not loaded & {"torch", "numpy", "pandas", "matplotlib", *FOREIGN}


def listed(name: str) -> list[str]:
    """A list of pyproject.toml; Python 3.10 has no reader for it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return ast.literal_eval(re.search(rf"^{name} = (\[.*?\])$", text, re.M | re.S)[1])


def test_requirements_are_the_dependencies():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert lines == listed("dependencies")


def test_every_folder_with_sources_is_packaged():
    packages = listed("packages")
    for path in SOURCES:
        name = ".".join(["lora_alloy", "core", *path.relative_to(CORE).parts[:-1]])
        assert name in packages


def test_everything_offered_is_there():
    import core

    assert len(set(core.__all__)) == len(core.__all__)
    assert all(hasattr(core, name) for name in core.__all__)
    for name in ("blend", "resize", "select", "convert", "verify", "Lora", "LowRank"):
        assert name in core.__all__


def test_the_map_names_every_floor_and_no_other():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"^    core/(\w+)/ ", text, re.MULTILINE)
    assert sorted(named) == sorted(path.parent.name for path in CORE.glob("*/__init__.py"))
    with_files = re.findall(r"^    (nodes/\w+\.py) ", text, re.MULTILINE)
    assert sorted(with_files) == sorted(f"nodes/{p.name}" for p in (ROOT / "nodes").glob("*.py"))


def test_ci_runs_the_command_that_the_readme_gives():
    commands = re.findall(r"^\s*(python3 -m venv .*)$", (ROOT / "README.md").read_text(), re.M)
    assert len(commands) == 2, "one command for the demo, one for the tests"
    assert commands[0].endswith("lora-alloy demo")
    # CI pins torch and is quiet; the rest is the reader's command to the letter.
    ci = (ROOT / ".ci" / "run").read_text().replace("install -q", "install").splitlines()
    assert commands[1] in ci
