"""What is written beside the tensors: numbers that stay true, and the recipe."""

import hashlib
import json

import pytest

from core import Blend, Output, RankRule, blend, resize, select
from tests.every_edit import UNTOUCHED
from tests.helpers import KOHYA, StateDict, lora, lora_file, save

FULL = Blend(rank="full")


def with_metadata(tensors, **metadata) -> StateDict:
    result = StateDict(tensors)
    result.metadata = metadata
    return result


STALE = {
    "sshs_model_hash": "a",
    "sshs_legacy_hash": "b",
    "modelspec.hash_sha256": "c",
    "lora_adapter_metadata": '{"r": 8}',
    "ss_network_dim": "8",
    "ss_network_alpha": "4.0",
}


def metadata_after(edit, tensors=None) -> dict[str, str]:
    first = with_metadata(
        lora_file("ab", KOHYA, rank=8, alpha=4.0) if tensors is None else tensors,
        title="x",
        **STALE,
    )
    return edit(first).lora.metadata


def test_a_changed_rank_is_corrected_and_hashes_go():
    found = metadata_after(lambda first: resize(first, RankRule("rank", 3)))
    assert found.pop("lora_alloy")
    assert found == {"title": "x", "ss_network_dim": "3", "ss_network_alpha": "3"}


def test_ranks_that_differ_have_no_number():
    tensors = lora("a", pair=KOHYA, rank=8, alpha=4.0) | lora("b", pair=KOHYA, rank=2, alpha=2.0)
    found = metadata_after(lambda first: resize(first, RankRule("rank", 3)), tensors)
    assert set(found) == {"title", "lora_alloy"}


def test_alphas_that_differ_have_no_number():
    # One module is copied with alpha 1, the other written with alpha = rank: both have rank 2.
    tensors = lora("a", pair=KOHYA, rank=2, alpha=1.0) | lora("b", pair=KOHYA, rank=4, alpha=4.0)
    found = metadata_after(lambda first: resize(first, RankRule("rank", 2)), tensors)
    assert found["ss_network_dim"] == "2" and "ss_network_alpha" not in found


@pytest.mark.parametrize(
    "edit",
    [
        lambda first: select(first, "a")[0],
        lambda first: blend(first, None, Blend(layers="a", rank="full")),
        lambda first: resize(first, RankRule("rank", 99), output=Output(dtype="fp16")),
        lambda first: blend(
            first, lora("b", rank=8) | lora("c"), Blend((1, 1), "full", layers="a, c")
        ),
    ],
    ids=["select", "layers", "dtype", "second file"],
)
def test_hashes_go_when_the_tensors_are_others_though_each_is_a_copy(edit):
    found = metadata_after(edit)
    assert not {"sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"} & set(found)


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
        told = settings_of(edit(lora("x"), output))
        assert (told["dtype"], told["spelling"]) == ("fp16", "kohya")


def test_an_edit_of_an_edit_keeps_the_recipe_of_the_first():
    once = blend(with_metadata(lora("x"), title="t"), None, Blend((0.5,))).lora
    twice = resize(once, RankRule("rank", 2)).lora
    assert twice.metadata["title"] == "t"
    assert json.loads(twice.metadata["lora_alloy"])["operation"] == "resize"


def test_without_alpha_keys_the_metadata_has_none():
    found = metadata_after(
        lambda first: resize(first, RankRule("rank", 3)), lora_file("ab", rank=8)
    )
    assert "ss_network_alpha" not in found
