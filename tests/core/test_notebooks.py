"""The notebooks of docs/ run from a clean kernel, and say what they said when they were written."""

from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


def said(cell) -> list[str]:
    """The texts of a cell's outputs, and that there are pictures."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        found.append(output.get("text") or data.get("text/plain") or "")
        found += ["a picture"] * ("image/png" in data)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_says_the_same(path, tmp_path, monkeypatch):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/lora_alloy").symlink_to(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    committed = nbformat.read(path, 4)
    fresh = nbformat.read(path, 4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(fresh, timeout=300, resources=where).execute()
    assert any("a picture" in said(cell) for cell in fresh.cells)
    for old, new in zip(committed.cells, fresh.cells, strict=True):
        assert said(old) == said(new), old.source


def test_there_are_two():
    assert len(NOTEBOOKS) == 2
