"""Write the key maps that the tests judge names by, from ComfyUI's and diffusers' own models.

    python -m tests.make_key_maps comfyui PYTHON FOLDER   # a ComfyUI, and a Python that runs it
    python -m tests.make_key_maps diffusers PYTHON        # a Python with diffusers

Nothing is downloaded: models are built on the meta device. `tests/comfyui/test_key_maps.py` holds
what is stored against a ComfyUI that is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.key_maps import (
    DIFFUSERS,
    DIFFUSION_MODELS,
    FOLDER,
    ROWS,
    TEXT_ENCODERS,
    Entry,
    compact,
    rows_text,
)

SCRIPTS = Path(__file__).with_name("key_maps")


def ask(script: str, python: str | Path, folder: str | Path = ".") -> dict[str, Any]:
    """The answer of a script in another Python."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # ComfyUI goes through a set where two names mean one layer: whichever comes last, then.
    environment["PYTHONHASHSEED"] = "0"
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "answer.json"
        subprocess.run(
            [str(python), str(SCRIPTS / script), str(path)],
            cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        return dict(json.loads(path.read_text()))


def entries(listed: Iterable[list[Any]]) -> list[Entry]:
    """The names of weights. Biases have one name each, their own, and make half of a map."""
    result = []
    for raw, key, piece, swapped, shape in listed:
        start, length = piece[1:] if piece else (None, None)
        entry = Entry(raw, key, start, length, swapped, tuple(shape))
        if not entry.bias:
            result.append(entry)
    return result


def texts(answer: dict[str, Any]) -> dict[tuple[str, str], str]:
    """(group, model) -> the text of its key map."""
    return {
        (group, model): compact(entries(listed))
        for group in (DIFFUSION_MODELS, TEXT_ENCODERS, DIFFUSERS)
        for model, listed in answer.get(group, {}).items()
    }


def main(source: str, python: str, folder: str = ".") -> None:
    answer = ask(f"ask_{source}.py", python, folder)
    for name, error in answer["failed"].items():
        print(f"{name}: {error}")
    groups = [group for group in (DIFFUSION_MODELS, TEXT_ENCODERS, DIFFUSERS) if group in answer]
    for group in groups:
        for old in (FOLDER / group).glob("*.txt"):
            old.unlink()
        (FOLDER / group).mkdir(parents=True, exist_ok=True)
    for (group, model), text in texts(answer).items():
        (FOLDER / group / f"{model}.txt").write_text(text)
    if any(answer.get("rows", {}).values()):
        (FOLDER / ROWS).mkdir(exist_ok=True)
        for model, listed in answer["rows"].items():
            if listed:
                (FOLDER / ROWS / f"{model}.txt").write_text(rows_text(listed))
    if "classes" in answer:
        (FOLDER / "comfyui_classes.txt").write_text("\n".join(answer["classes"]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
