"""Both ways to write a file, for the tests that hold for each."""

import os

import pytest


@pytest.fixture(params=["nameless", "named"])
def way(request, monkeypatch):
    """Both ways to write: into a file without a name, and into a hidden one beside the target."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no files without a name")
    return request.param
