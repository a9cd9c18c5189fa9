"""The rules of the design that only the source can show: floors, imports, ASCII, dependencies."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core"
SOURCES = sorted(path for path in CORE.rglob("*.py"))

# From the ground up: a module imports from its own floor and those below it. A folder is one name.
# Ground to roof as in the design: files, low_rank, names, adapters, lora, stream, edits, cli.
FLOORS = (
    {"errors", "atomic", "lapack", "cached"},
    {"gram", "bins"},
    {"files", "dialects", "low_rank", "rank_rules", "balance", "selectors", "peft_scale", "blocks"},
    {"family", "families", "names", "recognition", "randomised"},
    {"adapters"},
    {"lora", "layout"},
    {"stream", "report", "output"},
    {"elements", "statistics", "analysis", "importance", "drawing", "charts", "trainer_configs"},
    {"edit", "convert", "blend", "resize", "select", "verify", "info", "notebook", "top_blocks"},
    {"cli", "__main__"},
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}
FOREIGN = ("comfy", "comfy_api", "comfy_extras", "folder_paths", "server", "nodes", "execution")
ALLOWED = {"torch", "safetensors", "numpy", "pandas", "matplotlib", "tqdm"}


def module_of(path: Path) -> str:
    """The name that a file counts under: its own, or that of its folder inside core."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str | None, str]]:
    """[(module of core, "")] for relative imports, [(None, package)] for absolute ones."""
    found = []
    inside = path.relative_to(CORE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(None, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((None, str(node.module).split(".")[0]))
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) - node.level + 1]
            assert node.level - 1 <= len(inside), f"{path}: imports from above core"
            steps = [*above, *(node.module.split(".") if node.module else [])]
            found += [(steps[0], "")] if steps else [(alias.name, "") for alias in node.names]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
def test_imports_point_down_only(path):
    own = module_of(path)
    if own == "__init__":
        return  # The front door names everything, and nothing inside may use it.
    assert own in FLOOR_OF, f"{own} stands on no floor: add it to FLOORS where it belongs"
    for name, _ in imports(path):
        if name is not None and name != own:
            assert name in FLOOR_OF, f"{path}: {name} stands on no floor"
            assert FLOOR_OF[name] <= FLOOR_OF[own], f"{own} imports {name}, which is above it"


def test_every_name_on_a_floor_is_there():
    assert set(FLOOR_OF) == {module_of(path) for path in SOURCES} - {"__init__"}


def test_no_two_modules_import_each_other():
    needs = {module_of(path): set() for path in SOURCES}
    for path in SOURCES:
        needs[module_of(path)] |= {name for name, _ in imports(path) if name} - {module_of(path)}
    needs.pop("__init__")
    while needs:
        free = {name for name, others in needs.items() if not others & needs.keys()}
        assert free, f"a circle of imports among {sorted(needs)}"
        needs = {name: others for name, others in needs.items() if name not in free}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
def test_core_knows_nothing_of_comfyui(path):
    packages = {package for name, package in imports(path) if name is None}
    assert not packages & set(FOREIGN)
    # The package itself only by relative imports: it has another name once it is installed.
    assert not packages & {"core", "lora_alloy"}
    assert packages - set(sys.stdlib_module_names) <= ALLOWED


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
def test_sources_are_ascii_and_short(path):
    text = path.read_bytes()
    assert text.isascii()
    assert text.count(b"\n") <= 350 or path.name == "families.py"  # tables are as long as they are


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return set(result.stdout.split())


def test_importing_core_loads_no_pandas_no_matplotlib_and_no_comfyui():
    loaded = modules_after("import core, core.cli")
    assert "core.cli" in loaded
    assert not loaded & {"pandas", "matplotlib", *FOREIGN}


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

    assert sorted(core.__all__) == core.__all__
    assert all(hasattr(core, name) for name in core.__all__)
    for name in ("blend", "resize", "select", "convert", "verify", "Lora", "LowRank"):
        assert name in core.__all__


def test_the_map_names_every_file_and_no_other():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^    |, )((?:\w+/)?\w+\.py)", text, re.MULTILINE))
    inside = {str(path.relative_to(CORE)) for path in SOURCES}
    beside = {str(path.relative_to(ROOT)) for path in (ROOT / "nodes").glob("*.py")}
    assert named - {"__init__.py"} == (inside | beside) - {"__init__.py", "__main__.py"}


def test_ci_runs_the_command_that_the_readme_gives():
    commands = re.findall(r"^\s*(python3 -m venv .*)$", (ROOT / "README.md").read_text(), re.M)
    assert len(commands) == 2, "one command for the demo, one for the tests"
    assert commands[0].endswith("lora-alloy demo")
    # CI pins torch and is quiet; the rest is the reader's command to the letter.
    ci = (ROOT / ".ci" / "run").read_text().replace("install -q", "install").splitlines()
    assert commands[1] in ci
