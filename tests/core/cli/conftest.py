"""A folder with two LoRA files, in which a command line runs."""

import pytest

from tests.core.cli.commands import FIRST, SECOND
from tests.helpers import save


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save(FIRST, tmp_path / "a.safetensors", {"title": "first"})
    save(SECOND, tmp_path / "b.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path
