"""The stored key maps are those of this ComfyUI and this diffusers, where they are there.

A difference means that the source has moved on: `python -m tests.make_key_maps` writes them anew,
and the tests of `tests/core/naming` say what the tables make of it.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec

import pytest

from tests.comfyui.harness import find_comfyui
from tests.key_maps import (
    DIFFUSERS,
    DIFFUSION_MODELS,
    FOLDER,
    ROWS,
    TEXT_ENCODERS,
    models,
    rows_text,
)
from tests.make_key_maps import ask, texts

NEWEST = (0, 33)
# A Python with diffusers and PEFT: this one, or that of the variable.
DIFFUSERS_PYTHON = os.environ.get("DIFFUSERS_PYTHON") or (
    sys.executable if find_spec("diffusers") else None
)


def compare(answer: dict, groups: tuple[str, ...]) -> None:
    for group in groups:
        assert set(answer[group]) == set(models(group)), answer["failed"]
    for (group, model), text in texts(answer).items():
        assert text == (FOLDER / group / f"{model}.txt").read_text(), f"{group}: {model}"


def test_comfyuis():
    root, python = find_comfyui()
    version = re.search(r"(\d+)\.(\d+)", (root / "comfyui_version.py").read_text())
    if version is None or (int(version[1]), int(version[2])) < NEWEST:
        pytest.skip("this ComfyUI is older than the key maps")
    answer = ask("ask_comfyui.py", python, root)
    assert answer["classes"] == (FOLDER / "comfyui_classes.txt").read_text().split()
    compare(answer, (DIFFUSION_MODELS, TEXT_ENCODERS))


@pytest.mark.skipif(DIFFUSERS_PYTHON is None, reason="no diffusers")
def test_diffusers():
    answer = ask("ask_diffusers.py", str(DIFFUSERS_PYTHON))
    compare(answer, (DIFFUSERS,))
    assert not answer["failed"]
    for model, listed in answer["rows"].items():
        path = FOLDER / ROWS / f"{model}.txt"
        assert (path.read_text() if path.exists() else "\n") == rows_text(listed), model


@pytest.mark.skipif(DIFFUSERS_PYTHON is None, reason="no diffusers")
def test_diffusers_reads_what_is_written_for_it():
    """Its own loaders put every layer where it belongs, with the numbers that the file says."""
    for name, said in ask("load_in_diffusers.py", str(DIFFUSERS_PYTHON)).items():
        assert said == "", f"{name}: {said}"
