"""The version is the project's in a plain folder, and the installed package's elsewhere."""

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from core import version

ROOT = Path(__file__).parents[2]
MODULE = sys.modules[version.__module__]  # core.version is the function


@pytest.fixture(autouse=True)
def asked_anew():
    version.cache_clear()
    yield
    version.cache_clear()


def test_a_plain_folder_has_the_version_of_its_project():
    text = (ROOT / "pyproject.toml").read_text(encoding="ascii")
    assert re.search(r'^version = "(.+)"$', text, re.M)[1] == version()


@pytest.mark.parametrize("installed", ["1.2.3", None])
def test_an_installed_package_has_its_own(tmp_path, monkeypatch, installed):
    def told(name):
        assert name == "lora-alloy"
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(MODULE, "__file__", str(tmp_path / "core" / "version.py"))
    monkeypatch.setattr(metadata, "version", told)
    assert version() == (installed or "unknown")
