"""What is written: dtypes and their limits, metadata, and that untouched means untouched."""

import hashlib
import json

import pytest
import torch

from core import (
    Blend,
    Compute,
    LoraError,
    Output,
    RankRule,
    blend,
    convert,
    resize,
    select,
)
from tests.helpers import (
    KOHYA,
    StateDict,
    assert_close,
    dense,
    error,
    files_in,
    lora,
    lora_file,
    randn,
    same_bits,
    save,
    weighted,
)

FULL = Blend(rank="full")
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ROUNDING = {"fp32": 1e-6, "fp16": 2e-3, "bf16": 1.5e-2}


def with_metadata(tensors, **metadata) -> StateDict:
    result = StateDict(tensors)
    result.metadata = metadata
    return result


@pytest.mark.parametrize("stored", DTYPES.values(), ids=str)
@pytest.mark.parametrize("wanted", ["match", *DTYPES])
def test_the_output_dtype_is_the_one_asked_for(stored, wanted):
    first = lora_file("ab", KOHYA, alpha=2.0, dtype=stored)
    second = lora_file("abc", dtype=torch.float32, seed=1) | {"c.diff_b": randn((16,))}
    result = blend(first, second, Blend((0.5, -1.0), "full"), Output(dtype=wanted)).lora
    expected = stored if wanted == "match" else DTYPES[wanted]
    assert {t.dtype for k, t in result.items() if not k.endswith(".alpha")} == {expected}
    name = next(name for name, dtype in DTYPES.items() if dtype == expected)
    assert_close(dense(result), weighted(first, second, 0.5, -1.0), ROUNDING[name])


def test_match_takes_the_dtype_of_most_bytes():
    first = lora("large", (64, 64), dtype=torch.float16) | lora("small", dtype=torch.float32)
    assert blend(first, None, Blend((0.5,))).lora["small.lora_A.weight"].dtype == torch.float16
    first = lora("x", dtype=torch.float64)
    assert blend(first, None, Blend((0.5,))).lora["x.lora_A.weight"].dtype == torch.float32


def test_match_never_means_whole_numbers():
    first = lora("x") | {"y.diff": torch.ones(99, 99, dtype=torch.int32)}
    result = blend(first, None, Blend((0.5,), "full")).lora
    assert_close(dense(result), {"x": 0.5 * dense(first)["x"], "y": torch.full((99, 99), 0.5)})


@pytest.mark.parametrize("size", [1e-8, 1e-4, 1.0, 1e4, 1e8])
@pytest.mark.parametrize("factors", [(1.0, 1.0), (1e4, 1e-4), (1e-4, 1e4)], ids=str)
def test_fp16_holds_large_and_tiny_singular_values(size, factors):
    # sqrt(sigma) goes to each side, so that both stay in fp16's range as long as possible.
    first = lora("x", (32, 32))
    first["x.lora_B.weight"] *= factors[0] * size
    first["x.lora_A.weight"] *= factors[1]
    second = {k: t * 1e-3 for k, t in lora("x", (32, 32), seed=1).items()}
    for rank in ("full", 8):
        result = blend(first, second, Blend((1.0, size), rank), Output(dtype="fp16")).lora
        assert error(dense(result)["x"], weighted(first, second, 1, size)["x"]) < 3e-3


@pytest.mark.parametrize("dtype, noted", [("fp16", True), ("bf16", False), ("fp32", False)])
def test_what_fp16_cannot_hold_any_more_is_said(dtype, noted):
    first = lora("ok") | {key: t * 1e-7 for key, t in lora("faint", seed=1).items()}
    for edit in (convert, lambda *a: blend(a[0], None, FULL, a[1])):
        notes = edit(first, Output(dtype=dtype)).report.notes
        assert any("1 modules hold numbers too small" in note for note in notes) == noted
        assert any("rounding moves faint by" in note for note in notes) == noted
    # A file that is in fp16 already loses nothing by being copied.
    half = {key: t.half() for key, t in first.items()}
    assert not select(half, "*")[0].report.notes


@pytest.mark.parametrize("dtype, size", [("fp16", 1e6), ("bf16", 1e39), ("fp32", 1e39)])
def test_what_the_dtype_cannot_hold_is_refused_by_tensor(tmp_path, dtype, size):
    first = {"x.diff": torch.full((4, 4), size, dtype=torch.float64)} | lora("y")
    path = tmp_path / "out.safetensors"
    compute = Compute(dtype=torch.float64)
    for settings in (Blend(rank="full"), Blend((0.5,), "full")):
        with pytest.raises(LoraError, match=rf"x\.diff: has an entry .* for b?float{dtype[-2:]}"):
            blend(first, None, settings, Output(path, dtype), compute)
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("dtype", DTYPES)
def test_copied_modules_are_cast_too(dtype):
    first = lora("a", rank=2, alpha=1.0) | lora("b", rank=8)
    result = resize(first, RankRule("rank", 4), output=Output(dtype=dtype)).lora
    assert {t.dtype for k, t in result.items() if not k.endswith(".alpha")} == {DTYPES[dtype]}
    assert error(dense(result)["a"], dense(first)["a"]) < ROUNDING[dtype]


UNTOUCHED = {
    "select": lambda lora, output: select(lora, "*", output)[0],
    "convert": lambda lora, output: convert(lora, output),
    "resize": lambda lora, output: resize(lora, RankRule("rank", 99), output=output),
    "blend": lambda lora, output: blend(lora, None, FULL, output),
}


@pytest.mark.parametrize("edit", UNTOUCHED)
def test_a_file_that_is_written_again_stays_what_it_is(tmp_path, edit):
    tensors = lora_file("ab", KOHYA, alpha=3.0, dtype=torch.bfloat16)
    tensors |= {"a.diff_b": randn((16,)).bfloat16(), "unknown": torch.arange(5)}
    tensors |= lora("c", (6, 4, 3, 3), pair=KOHYA, mid=True, dtype=torch.bfloat16)
    metadata = {
        "ss_network_dim": "8",
        "ss_network_alpha": "3.0",
        "sshs_model_hash": "abc",
        "lora_adapter_metadata": "{}",
        "title": "x",
    }
    path = save(tensors, tmp_path / "in.safetensors", metadata)
    for output in (Output(), Output(tmp_path / "out.safetensors")):
        result = UNTOUCHED[edit](path, output)
        written = result.lora
        if output.path:
            from core.storage.files import open_tensors

            opened = open_tensors(written)
            written = StateDict({key: opened[key] for key in opened.info})
            written.metadata = opened.metadata
        assert same_bits(written, tensors)
        assert {k: v for k, v in written.metadata.items() if k != "lora_alloy"} == metadata


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


def test_without_alpha_keys_the_metadata_has_none():
    found = metadata_after(
        lambda first: resize(first, RankRule("rank", 3)), lora_file("ab", rank=8)
    )
    assert "ss_network_alpha" not in found


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


@pytest.mark.parametrize("settings", [{"dtype": "fp8"}, {"spelling": "morse"}], ids=str)
def test_words_that_are_not_known_are_refused(settings):
    with pytest.raises(LoraError, match="unknown; choose one of match"):
        Output(**settings)


def test_sizes_in_the_report_are_those_of_the_tensors(tmp_path):
    path = tmp_path / "out.safetensors"
    first = lora_file("ab", KOHYA, alpha=1.0) | {"other": torch.ones(7)}
    result = blend(first, lora("a", seed=1), FULL, Output(path))
    from core.storage.files import open_tensors

    assert result.report.output_bytes == sum(i.bytes for i in open_tensors(path).info.values())
    assert result.report.inputs[0]["bytes"] == sum(t.nbytes for t in first.values())
    assert result.lora == path.resolve() and result.report.output == str(path)
