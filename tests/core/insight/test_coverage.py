"""The coverage table: everything that ComfyUI has, and what its tables say of it."""

import re
from pathlib import Path

import pytest

from core import coverage, not_covered
from core.insight.trainers import TRAINED
from core.naming.catalogue import FAMILIES
from tests.key_maps import FOLDER

CLASSES = (FOLDER / "comfyui_classes.txt").read_text().split()
ROWS = {row["family"]: row for row in coverage()}


def test_every_model_of_comfyui_is_in_one_family_or_has_a_reason_not_to_be():
    found = [model for row in ROWS.values() for model in row["comfyui"]]
    named = found + list(not_covered())
    # NewBie and Ovis-Image are detected as Lumina 2 and Flux; sizes of one class are one model.
    assert set(named) == set(CLASSES)
    shared = {model for model in named if named.count(model) > 1}
    assert shared == {"Lumina2", "FluxSchnell"}
    assert all(not_covered().values())


def test_every_family_has_a_row_and_every_trainer_names_families():
    assert set(ROWS) == {family.name for family in FAMILIES}
    assert all(row["comfyui"] and {"kohya", "generic"} <= {*row["reads"]} for row in ROWS.values())
    for trainer, families in TRAINED.items():
        assert set(families) <= set(ROWS)
        assert all((trainer in row["trainers"]) == (name in families) for name, row in ROWS.items())


@pytest.mark.parametrize(
    ("family", "reads", "diffusers"),
    [
        ("Flux", True, True), ("Wan", False, True), ("Lens", False, False),
        ("PixArt", True, False), ("HunyuanVideo", False, True), ("SDXL", True, True),
    ],
)  # fmt: skip
def test_rows_say_who_reads_a_family(family, reads, diffusers):
    assert ("diffusers" in ROWS[family]["reads"]) == reads
    assert bool(ROWS[family]["diffusers"]) == diffusers


def test_readme_names_the_table():
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    assert "lora-alloy families" in readme
    (count,) = re.findall(r"(\d+) families of models", readme)
    assert int(count) == len(ROWS)
