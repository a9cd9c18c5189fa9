"""`.ci/run` works in a copy of the working tree: a developer's own .venv is not touched."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In place of Python and of everything that the script would install: says where it is.
STAND_IN = """#!/bin/sh
pwd > "$SEEN/place"; ls -A > "$SEEN/files"; git ls-files > "$SEEN/known"
mkdir -p .venv/bin
for name in python pip ruff; do echo : > .venv/bin/$name; chmod +x .venv/bin/$name; done
"""


@pytest.mark.skipif(os.name != "posix", reason="a script for bash")
def test_ci_runs_in_a_copy_of_what_git_would_take_and_leaves_nothing_behind(tmp_path):
    if shutil.which("git") is None or shutil.which("bash") is None:
        pytest.skip("no git, or no bash")
    tree, tools, seen = (tmp_path / name for name in ("tree", "tools", "seen"))
    for folder in (tree / ".ci", tree / ".venv", tree / "a folder", tools, seen):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tree / ".ci" / "run")
    shutil.copy(ROOT / ".gitignore", tree / ".gitignore")
    for name in (".venv/mine", "a folder/committed", "changed", "gone"):
        (tree / name).write_text("old")
    subprocess.run("git init -q && git add -A", shell=True, cwd=tree, check=True)
    (tree / "gone").unlink()
    (tree / "new").write_text("not yet added")
    (tools / "python3").write_text(STAND_IN)
    (tools / "python3").chmod(0o755)
    before = (tree / ".git" / "index").read_bytes()
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
        "SEEN": str(seen),
        # As a hook of git would be run.
        "GIT_DIR": str(tree / ".git"),
        "GIT_INDEX_FILE": str(tree / ".git" / "index"),
    }
    subprocess.run([tree / ".ci" / "run"], env=environment, check=True, timeout=60)
    place, files, known = (
        (seen / name).read_text().split("\n")[:-1] for name in ("place", "files", "known")
    )
    assert Path(place[0]).parent == tmp_path and not Path(place[0]).exists()
    assert set(files) == {".ci", ".git", ".gitignore", "a folder", "changed", "new"}
    assert set(known) == {".ci/run", ".gitignore", "a folder/committed", "changed", "new"}
    assert (tree / ".venv" / "mine").read_text() == "old"
    assert (tree / ".git" / "index").read_bytes() == before
