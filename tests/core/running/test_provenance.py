"""Recipes within recipes: all that a file was made of, bounded, and never trusted."""

import hashlib
import json

import pytest

from core import Blend, Lora, Output, RankRule, StateDict, blend, resize, summary
from core.running import provenance
from core.running.provenance import read_recipe
from tests.every_edit import UNTOUCHED
from tests.helpers import lora, lora_file, save

from .programs import metadata

FULL = Blend(rank="full")


def roots(recipe) -> list[str]:
    """The files that a recipe starts from."""
    found = []
    for entry in recipe["inputs"]:
        found += roots(entry["recipe"]) if "recipe" in entry else [entry["name"]]
    return found


def chain(folder, count: int) -> str:
    """Files blended one after the other: ((a + b) + c) + ..."""
    path = None
    for i in range(count):
        file = save(lora("x", (4, 4), rank=1, seed=i), folder / f"{i}.safetensors")
        if path is None:
            path = file
        else:
            path = blend(path, file, FULL, Output(folder / f"to{i}.safetensors")).lora
    return str(path)


def test_four_inputs_in_a_chain_are_all_in_the_recipe(tmp_path):
    recipe = read_recipe(metadata(chain(tmp_path, 4)))
    assert roots(recipe) == [f"{i}.safetensors" for i in range(4)]
    assert all(entry["sha256"] for entry in recipe["inputs"])


def test_an_edit_in_memory_brings_its_recipe_along(tmp_path):
    one = blend(lora("x"), lora("x", seed=1), FULL).lora
    two = resize(one, RankRule("rank", 2)).lora
    recipe = read_recipe(two.metadata)
    assert recipe["inputs"][0]["recipe"]["operation"] == "blend"


def test_a_recipe_has_a_largest_size_and_says_where_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "LONGEST", 3000)
    path = chain(tmp_path, 9)
    text = metadata(path)["lora_alloy"]
    assert len(text) < 6000
    recipe = json.loads(text)
    while "recipe" in recipe["inputs"][0]:
        recipe = recipe["inputs"][0]["recipe"]
    assert recipe["inputs"][0]["cut"] is True


@pytest.mark.slow
def test_a_file_blended_with_itself_does_not_double_for_ever(tmp_path):
    path = save(lora("x", (4, 4), rank=1), tmp_path / "a")
    for i in range(24):
        path = blend(path, path, Blend((0.5, 0.5), 1), Output(tmp_path / str(i))).lora
    assert len(metadata(path)["lora_alloy"]) < 2 * provenance.LONGEST


ENTRY = {"name": "a", "sha256": None}
NOT_OURS = [
    {},
    [],
    3,
    {"operation": "blend"},
    {"operation": "blend", "settings": [], "inputs": []},
    {"operation": "blend", "settings": {}, "inputs": {}},
    {"operation": "blend", "settings": {}, "inputs": ["a"]},
    {"operation": "blend", "settings": {}, "inputs": [{"name": 3}]},
    {"operation": "blend", "settings": {"x": [[[[[[[[1]]]]]]]]}, "inputs": [ENTRY]},
]


@pytest.mark.parametrize("value", NOT_OURS, ids=str)
def test_what_is_no_recipe_of_ours_is_none(tmp_path, value):
    told = {"lora_alloy": json.dumps(value)}
    assert read_recipe(told) is None
    path = save(lora("x"), tmp_path / "a", told)
    written = resize(path, RankRule("rank", 2), output=Output(tmp_path / "b")).lora
    assert "recipe" not in json.loads(metadata(written)["lora_alloy"])["inputs"][0]
    assert summary(Lora(path))


def test_hostile_recipes_stay_small():
    deep = {"operation": "x", "settings": {}, "inputs": [ENTRY]}
    for _ in range(100):
        deep = {"operation": "x", "settings": {}, "inputs": [ENTRY | {"recipe": deep}]}
    found = read_recipe({"lora_alloy": json.dumps(deep)})
    depth = 0
    while "recipe" in found["inputs"][0]:
        found, depth = found["inputs"][0]["recipe"], depth + 1
    assert depth == provenance.DEEPEST and found["inputs"][0]["cut"]
    assert read_recipe({"lora_alloy": "[" * 200_000}) is None
    extra = {"operation": "x", "settings": {}, "inputs": [ENTRY | {"more": "x" * 10}], "y": 1}
    found = read_recipe({"lora_alloy": json.dumps(extra)})
    assert found.keys() == {"version", "operation", "settings", "inputs"}
    assert found["inputs"] == [ENTRY]


def test_the_recipe_is_recorded(tmp_path):
    path = save(lora("x"), tmp_path / "in.safetensors")
    result = blend(path, lora("x", seed=1), Blend((0.5, 2.0), 3, layers="x"))
    recipe = json.loads(result.lora.metadata["lora_alloy"])
    digest = hashlib.sha256((tmp_path / "in.safetensors").read_bytes()).hexdigest()
    assert recipe["operation"] == "blend" and recipe["version"]
    assert recipe["settings"]["weights"] == [0.5, 2.0] and recipe["settings"]["rank"] == "rank 3"
    assert recipe["inputs"][0] == {"name": "in.safetensors", "sha256": digest}
    assert recipe["inputs"][1]["sha256"] is None


def settings_of(edited) -> dict:
    return json.loads(edited.lora.metadata["lora_alloy"])["settings"]


def test_the_recipe_names_what_was_given_as_a_function():
    files = lora_file("ab"), lora_file("ab", seed=1)
    plain = settings_of(blend(*files, FULL))
    assert (plain["balance"], plain["block_weights"], plain["layers"]) == ("none", "", "")
    balanced = Blend(rank="full", balance=lambda *_: (1.0, 1.0))
    told = settings_of(
        blend(*files, balanced, block_rule=lambda *_: (1, 1), keep=lambda name, _: name == "a")
    )
    assert told["balance"] == told["block_weights"] == told["layers"] == "a function"


def test_the_recipe_names_dtype_and_spelling():
    output = Output(dtype="fp16", spelling="kohya")
    for edit in UNTOUCHED.values():
        told = settings_of(edit(lora("diffusion_model.double_blocks.0.img_attn.proj"), output))
        assert (told["dtype"], told["spelling"]) == ("fp16", "kohya")


def test_an_edit_of_an_edit_keeps_the_recipe_of_the_first():
    once = blend(StateDict(lora("x"), {"title": "t"}), None, Blend((0.5,))).lora
    twice = resize(once, RankRule("rank", 2)).lora
    assert twice.metadata["title"] == "t"
    assert json.loads(twice.metadata["lora_alloy"])["operation"] == "resize"
