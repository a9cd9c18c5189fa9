"""Metadata of what is written, as other programs read them: whose, model, file, words.

Also of united.py: what several files say together.
"""

import json
import re
from pathlib import Path

import pytest
import torch

from core import (
    Blend,
    Lora,
    LoraError,
    Output,
    RankRule,
    StateDict,
    Wishes,
    blend,
    convert,
    load,
    resize,
    select,
    summary,
)
from core import save as write
from core.naming.catalogue import FAMILIES
from core.naming.recognition import told_by
from core.storage import sinks
from tests.helpers import KOHYA, flux_file, lora, lora_file, same_bits, save

from .programs import (
    A1111,
    Forge,
    Manager,
    addnet_hash,
    after_header,
    diffusers_scale,
    header,
    legacy_hash,
    metadata,
)

FULL = Blend(rank="full")
BLOCKS = "unet.down_blocks.{}.attentions.1.transformer_blocks.{}.attn2.to_k"
SDXL = [BLOCKS.format(1, 1), BLOCKS.format(2, 9)]
EVERY_EDIT = {
    "blend": lambda path, output: blend(path, None, Blend((0.5,)), output),
    "resize": lambda path, output: resize(path, RankRule("rank", 2), output=output),
    "select": lambda path, output: select(path, "*.0.*", output)[0],
    "convert": lambda path, output: convert(path, Output(output.path, "fp16")),
}
KOHYA_ENTRIES = {
    "ss_output_name": "old",
    "ss_network_module": "networks.lora",
    "ss_network_dim": "4",
    "ss_network_alpha": "4",
    "sshs_model_hash": "a" * 64,
    "sshs_legacy_hash": "b" * 8,
    "modelspec.hash_sha256": "0x" + "a" * 64,
    "modelspec.title": "Old title",
    "modelspec.date": "2023-01-01T00:00:00",
}


def named(*letters: str) -> list[str]:
    return [f"lora_unet_double_blocks_{i}_img_attn_proj" for i in letters]


def kohya(folder, name: str, seed=0, blocks=("0", "1"), **entries) -> str:
    tensors = lora_file(named(*blocks), KOHYA, alpha=4.0, shape=(64, 64), seed=seed)
    told = KOHYA_ENTRIES | {"ss_output_name": name, "modelspec.title": f"Title of {name}"}
    return save(tensors, folder / f"{name}.safetensors", told | entries)


def sdxl(path, entries=None, seed=0) -> str:
    sizes = zip(SDXL, (640, 1280), strict=True)  # SDXL's own: shapes tell it from its relatives.
    tensors = {k: t for name, out in sizes for k, t in lora(name, (out, 2048), seed=seed).items()}
    return save(tensors, path, entries)


def peft_settings(rank: int, alpha: float) -> dict[str, str]:
    settings = {"transformer.r": rank, "transformer.lora_alpha": alpha}
    return {"lora_adapter_metadata": json.dumps(settings)}


# -- whose ---------------------------------------------------------------------------------------


def test_two_files_mixed_by_block_are_neither_of_them(tmp_path):
    """Every module is a copy, and no entry of one file may speak of the tensors of the other."""
    first = kohya(tmp_path, "first", ss_network_dim="4")
    second = lora_file(named("0", "1"), KOHYA, rank=2, alpha=1.0, shape=(64, 64), seed=1)
    second = save(second, tmp_path / "second.safetensors", {"ss_network_dim": "2"})
    mixed = Blend(rank="full", block_weights="double_blocks.0: 1, 0\ndouble_blocks.1: 0, 1")
    result = blend(first, second, mixed, Output(tmp_path / "mixed.safetensors"))
    assert {row.action for row in result.report.kept} == {"copied"}
    assert [row.inputs for row in result.report.kept] == [[0], [1]]
    found = metadata(result.lora)
    assert found["sshs_model_hash"] == addnet_hash(result.lora) == A1111(result.lora).hash
    assert found["modelspec.hash_sha256"] == "0x" + addnet_hash(result.lora)
    assert found["sshs_legacy_hash"] == legacy_hash(result.lora)
    assert not {"ss_network_dim", "ss_network_alpha"} & found.keys()


def test_what_files_say_of_their_trainings_stays_only_where_no_other_says_otherwise(tmp_path):
    told = {"ss_steps": "100", "ss_optimizer": "AdamW", "prompt": "{}", "ss_sd_model_name": "base"}
    first = kohya(tmp_path, "first", **told)
    second = kohya(tmp_path, "second", seed=1, ss_steps="7", ss_optimizer="AdamW", prompt="{1}")
    both = metadata(blend(first, second, FULL, Output(tmp_path / "both.safetensors")).lora)
    assert both["ss_optimizer"] == "AdamW" and both["ss_sd_model_name"] == "base"
    assert not {"ss_steps", "prompt"} & both.keys()
    one = metadata(blend([first, second], settings=Blend((0.5, 0.0)),
                         output=Output(tmp_path / "one.safetensors")).lora)  # fmt: skip
    assert one["ss_steps"] == "100" and one["prompt"] == "{}"


def test_settings_of_one_file_do_not_scale_the_modules_of_another(tmp_path):
    """The case tried: diffusers applied the first file's alpha / r = 4 to the second's tensors."""
    names = [f"transformer.transformer_blocks.{i}.attn.to_out.0" for i in (0, 1)]
    first = save(lora_file(names), tmp_path / "first.safetensors", peft_settings(4, 16))
    second = save(lora_file(names, seed=1), tmp_path / "second.safetensors")
    assert diffusers_scale(first, names[0]) == 4.0
    blocks = "*blocks.0*: 1, 0\n*blocks.1*: 0, 1"
    mixed = blend(first, second, Blend(rank="full", block_weights=blocks),
                  Output(tmp_path / "mixed.safetensors")).lora  # fmt: skip
    # ComfyUI's meaning, which edits keep, has 1 for both.
    assert [diffusers_scale(mixed, name) for name in names] == [1.0, 1.0]
    half = select(first, "*blocks.0*", Output(tmp_path / "half.safetensors"))[0].lora
    assert diffusers_scale(half, names[0]) == 4.0


def test_weights_of_0_and_1_give_the_second_file(tmp_path):
    first, second = kohya(tmp_path, "first"), kohya(tmp_path, "second", seed=1, ss_mark="mine")
    result = blend(first, second, Blend((0.0, 1.0), "full"), Output(tmp_path / "new.safetensors"))
    found = metadata(result.lora)
    # The tensors are the second's to the bit, and so are the hashes that it is known by.
    assert found["sshs_model_hash"] == "a" * 64 and found["ss_mark"] == "mine"
    assert found["ss_network_dim"] == "4" and "modelspec.merged_from" not in found
    assert A1111(result.lora).alias == "new"


@pytest.mark.parametrize("edit", EVERY_EDIT)
def test_hashes_are_those_of_the_written_file(tmp_path, edit):
    path = kohya(tmp_path, "old", blocks=tuple("0123456789"))
    result = EVERY_EDIT[edit](path, Output(tmp_path / "new.safetensors")).lora
    found = metadata(result)
    assert found["sshs_model_hash"] == addnet_hash(result) != "a" * 64
    assert found["sshs_legacy_hash"] == legacy_hash(result)
    assert found["modelspec.hash_sha256"] == "0x" + addnet_hash(result)


def test_the_old_hash_is_right_for_files_beyond_a_megabyte(tmp_path):
    tensors = lora_file(named(*"0123"), KOHYA, alpha=4.0, rank=32, shape=(4096, 64))
    path = save(tensors, tmp_path / "old.safetensors", KOHYA_ENTRIES)
    result = resize(path, RankRule("rank", 24), output=Output(tmp_path / "new.safetensors")).lora
    assert result.stat().st_size > 0x110000
    assert metadata(result)["sshs_legacy_hash"] == legacy_hash(result)
    # A header of more than a megabyte would have to hold the hash of itself.
    wide = Wishes(set=(("long", "x" * 0x100000),))
    result = resize(path, RankRule("rank", 24), output=Output(tmp_path / "w", metadata=wide)).lora
    assert "sshs_legacy_hash" not in metadata(result)
    assert metadata(result)["sshs_model_hash"] == addnet_hash(result)


def test_other_trainers_files_get_no_hashes(tmp_path):
    result = EVERY_EDIT["resize"](sdxl(tmp_path / "a"), Output(tmp_path / "b")).lora
    assert not [key for key in metadata(result) if "hash" in key]


def test_settings_of_another_kind_go_with_it(tmp_path):
    loha = {"x.hada_w1_a": torch.randn(8, 2), "x.hada_w1_b": torch.randn(2, 8)}
    loha |= {"x.hada_w2_a": torch.randn(8, 2), "x.hada_w2_b": torch.randn(2, 8)}
    told = {"ss_network_module": "lycoris.kohya", "ss_network_args": '{"algo": "loha"}'}
    path = save(loha, tmp_path / "loha.safetensors", told)
    copied = metadata(select(path, "*", Output(tmp_path / "copy"))[0].lora)
    assert told.items() <= copied.items()
    changed = resize(path, RankRule("rank", 2), output=Output(tmp_path / "small")).lora
    assert not told.keys() & metadata(changed).keys()


# -- which model ---------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [None, {"format": "pt"}], ids=str)
@pytest.mark.parametrize("edit", EVERY_EDIT)
def test_an_edited_peft_file_is_shown_beside_its_model(tmp_path, edit, told):
    path = sdxl(tmp_path / "in.safetensors", told)
    if edit == "select":
        result = select(path, "*", Output(tmp_path / "out.safetensors"))[0].lora
    else:
        result = EVERY_EDIT[edit](path, Output(tmp_path / "out.safetensors")).lora
    assert A1111(result).shown_beside("SDXL") and not A1111(result).shown_beside("SD1")
    assert Forge(result).version == "SDXL"


def test_what_a_file_calls_its_model_stays(tmp_path):
    told = {"ss_base_model_version": "sdxl_base_v0-9", "modelspec.architecture": "my-xl"}
    path = sdxl(tmp_path / "in.safetensors", told)
    found = metadata(EVERY_EDIT["resize"](path, Output(tmp_path / "out")).lora)
    assert told.items() <= found.items()


# (A file of SD2 could be for Stable Video Diffusion, whose text is as wide: it says nothing.)
@pytest.mark.parametrize("width, version", [(768, "SD1"), (640, "SD1")])
def test_sd1_and_sd2_are_told_apart_by_the_width_of_their_text(tmp_path, width, version):
    names = [f"lora_unet_down_blocks_{i}_attentions_1_transformer_blocks_0_attn2_to_k"
             for i in (0, 1, 2)]  # fmt: skip
    names += ["lora_unet_up_blocks_3_attentions_0_transformer_blocks_0_attn2_to_v"]
    sizes = zip(names, (320, 640, 1280, 320), strict=True)
    tensors = {k: t for n, out in sizes for k, t in lora(n, (out, width), pair=KOHYA).items()}
    path = save(tensors, tmp_path / "in.safetensors")
    result = EVERY_EDIT["resize"](path, Output(tmp_path / "out")).lora
    assert A1111(result).version == version
    assert Forge(result).version == (version if width != 640 else "Unknown")


def test_flux_is_flux(tmp_path):
    names = ["lora_unet_double_blocks_18_img_mod_lin", "lora_unet_single_blocks_37_linear1"]
    path = save(
        lora(names[0], (18432, 3072), pair=KOHYA) | lora(names[1], (21504, 3072), pair=KOHYA),
        tmp_path / "in",
    )
    assert Lora(path).recognition.confidence == "certain"
    assert Forge(EVERY_EDIT["resize"](path, Output(tmp_path / "out")).lora).version == "Flux"


def test_a_model_that_is_not_certain_is_not_named(tmp_path):
    path = save(flux_file("diffusers"), tmp_path / "in.safetensors")
    assert Lora(path).recognition.confidence != "certain"
    found = metadata(EVERY_EDIT["resize"](path, Output(tmp_path / "out")).lora)
    assert not {"ss_base_model_version", "modelspec.architecture"} & found.keys()


def test_a_family_is_recognised_by_the_words_that_it_is_called():
    for family in FAMILIES:
        for called in family.called:
            told = told_by(called.metadata)
            assert re.search(family.metadata, told), family.name
            others = [f for f in FAMILIES if f.metadata and re.search(f.metadata, told)]
            assert others == [family], family.name


# -- which file ----------------------------------------------------------------------------------


def test_every_written_file_has_a_name_of_its_own(tmp_path):
    """The original, its resize, a blend of it and both halves: `<lora:name>` means one of them."""
    first, second = kohya(tmp_path, "first"), kohya(tmp_path, "second", seed=1)
    files = [first, second]
    files.append(resize(first, RankRule("rank", 2), output=Output(tmp_path / "small")).lora)
    files.append(blend(first, second, FULL, Output(tmp_path / "both.safetensors")).lora)
    halves = select(first, "*.0.*", Output(tmp_path / "one"), Output(tmp_path / "rest"))
    files += [half.lora for half in halves]
    files.append(write(first, tmp_path / "copy.safetensors"))
    aliases = [A1111(file).alias for file in files]
    assert aliases == ["first", "second", "small", "both", "one", "rest", "copy"]
    assert [Manager(file).title for file in files[2:6]] == aliases[2:6]
    for file in files[2:6]:
        assert metadata(file)["modelspec.date"] > "2023-01-02"
    recipe = json.loads(metadata(files[3])["lora_alloy"])
    assert [entry["title"] for entry in recipe["inputs"]] == ["Title of first", "Title of second"]
    assert Manager(files[3]).merged_from == ["Title of first", "Title of second"]


def test_a_file_without_such_entries_gets_none(tmp_path):
    path = save(lora("x"), tmp_path / "in.safetensors", {"format": "pt"})
    found = metadata(EVERY_EDIT["resize"](path, Output(tmp_path / "out")).lora)
    assert found.keys() == {"format", "lora_alloy"}


def test_what_an_edit_leaves_in_memory_has_the_name_of_the_file_it_is_saved_to(tmp_path):
    loaded = load(kohya(tmp_path, "first"))
    edited = resize(loaded, RankRule("rank", 2)).lora
    assert not {"ss_output_name", "modelspec.title"} & edited.metadata.keys()
    path = write(edited, tmp_path / "new.safetensors")
    assert A1111(path).alias == Manager(path).title == "new"
    assert metadata(path)["sshs_model_hash"] == addnet_hash(path)
    assert metadata(path)["sshs_legacy_hash"] == legacy_hash(path)


@pytest.mark.parametrize("epoch", ["0", "1700000000"])
def test_the_same_edit_gives_the_same_bytes(tmp_path, monkeypatch, epoch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    path = kohya(tmp_path, "first")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        resize(path, RankRule("rank", 2), output=Output(tmp_path / folder / "x.safetensors"))
    one, other = ((tmp_path / folder / "x.safetensors").read_bytes() for folder in "ab")
    assert one == other
    date = "1970-01-01T00:00:00Z" if epoch == "0" else "2023-11-14T22:13:20Z"
    assert metadata(tmp_path / "a" / "x.safetensors")["modelspec.date"] == date


# -- words ---------------------------------------------------------------------------------------


def words_of(name: str, tag: str, **more) -> dict[str, str]:
    return {
        "ss_tag_frequency": json.dumps({"10_set": {tag: 10, "1girl": 5}}),
        "modelspec.trigger_phrase": f"{tag}, 1girl",
        "ss_training_comment": f"trained for {name}",
        **more,
    }


def test_a_blend_has_the_words_of_all_its_files(tmp_path):
    first = kohya(tmp_path, "first", **words_of("first", "ohwx"))
    second = kohya(tmp_path, "second", seed=1, **words_of("second", "zkz"))
    path = blend(first, second, FULL, Output(tmp_path / "both.safetensors")).lora
    assert A1111(path).tags() == {"ohwx": 10, "zkz": 10, "1girl": 10}
    found = metadata(path)
    assert json.loads(found["ss_tag_frequency"]).keys() == {"first: 10_set", "second: 10_set"}
    assert Manager(path).words == ["ohwx", "1girl", "zkz"]
    comment = "first: trained for first\nsecond: trained for second"
    assert found["ss_training_comment"] == comment
    lines = summary(Lora(path))[:6]
    assert "trigger words: ohwx, 1girl, zkz" in lines
    assert "trigger words of first: ohwx, 1girl" in lines
    assert "trigger words of second: zkz, 1girl" in lines
    # A third file: what was told apart stays so.
    third = kohya(tmp_path, "third", seed=2, **words_of("third", "qqq"))
    path = blend(path, third, FULL, Output(tmp_path / "three.safetensors")).lora
    folders = json.loads(metadata(path)["ss_tag_frequency"]).keys()
    assert folders == {"first: 10_set", "second: 10_set", "third: 10_set"}
    assert metadata(path)["ss_training_comment"] == comment + "\nthird: trained for third"


def test_only_the_second_file_has_words(tmp_path):
    first = save(lora("x"), tmp_path / "first.safetensors")
    second = save(lora("x", seed=1), tmp_path / "second.safetensors", words_of("b", "zkz"))
    path = blend(first, second, FULL, Output(tmp_path / "both")).lora
    assert Manager(path).words == ["zkz", "1girl"] and A1111(path).tags()["zkz"] == 10


def test_a_file_that_does_not_count_has_no_say(tmp_path):
    first = kohya(tmp_path, "first", **words_of("first", "ohwx"))
    second = kohya(tmp_path, "second", seed=1, **words_of("second", "zkz"))
    path = blend(first, second, Blend((0.5, 0.0), "full"), Output(tmp_path / "half")).lora
    assert Manager(path).words == ["ohwx", "1girl"] and not Manager(path).merged_from


def test_files_of_one_name_are_told_apart(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
    first = kohya(tmp_path / "a", "x", **words_of("first", "ohwx"))
    second = kohya(tmp_path / "b", "x", seed=1, **words_of("second", "zkz"))
    path = blend(first, second, FULL, Output(tmp_path / "both")).lora
    assert json.loads(metadata(path)["ss_tag_frequency"]).keys() == {"x: 10_set", "x (2): 10_set"}


ODD = ["", "no json", "[1, 2]", '{"a": 3}', '{"a": {"b": "c"}}', "null", "[" * 100_000, '"\\ud800"']


@pytest.mark.parametrize("text", ODD, ids=lambda t: t[:12])
def test_odd_entries_are_no_words_and_no_errors(tmp_path, text):
    keys = ("ss_tag_frequency", "modelspec.trigger_phrase", "ss_dataset_dirs", "lora_alloy")
    first = save(lora("x"), tmp_path / "first.safetensors", dict.fromkeys(keys, text))
    second = save(lora("x", seed=1), tmp_path / "second.safetensors", words_of("b", "zkz"))
    for pair in ((first, second), (second, first)):
        path = blend(*pair, FULL, Output(tmp_path / "both")).lora
        assert "zkz" in Manager(path).metadata["modelspec.trigger_phrase"]
        assert summary(Lora(path))


# -- wishes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", EVERY_EDIT)
def test_minimal_and_none(tmp_path, edit):
    told = words_of("x", "ohwx", ss_learning_rate="1", ss_dataset_dirs="{}")
    path = kohya(tmp_path, "old", **told)

    def after(wishes):
        output = Output(tmp_path / "new.safetensors", metadata=wishes)
        if edit == "convert":
            output = Output(output.path, "fp16", metadata=wishes)
            return metadata(convert(path, output).lora)
        return metadata(EVERY_EDIT[edit](path, output).lora)

    assert after(Wishes("none")) == {}
    assert after(Wishes("none", (("a", "b"),))) == {"a": "b"}
    minimal = after(Wishes("minimal", unset=("modelspec.title",)))
    assert minimal["modelspec.trigger_phrase"] == "ohwx, 1girl"
    kept = {"ss_output_name", "ss_network_dim", "ss_network_module", "sshs_model_hash"}
    assert kept <= minimal.keys()
    gone = {"ss_tag_frequency", "ss_learning_rate", "lora_alloy", "modelspec.title"}
    assert not minimal.keys() & gone


def test_wishes_are_in_the_recipe(tmp_path):
    wishes = Wishes(set=(("modelspec.title", "T"), ("a", "=\n")), unset=("format",))
    path = save(lora("x"), tmp_path / "in.safetensors", {"format": "pt"})
    output = Output(tmp_path / "o", metadata=wishes)
    found = metadata(resize(path, RankRule("rank", 2), output=output).lora)
    settings = json.loads(found["lora_alloy"])["settings"]["metadata"]
    assert settings == {"keep": "keep", "set": [["modelspec.title", "T"], ["a", "=\n"]],
                        "unset": ["format"]}  # fmt: skip
    assert found["modelspec.title"] == "T" and found["a"] == "=\n" and "format" not in found


@pytest.mark.parametrize("wrong", [{"keep": "some"}, {"set": (("", "x"),)}, {"unset": (" ",)}])
def test_wishes_that_mean_nothing_are_refused(wrong):
    with pytest.raises(LoraError):
        Wishes(**wrong)


# -- save ----------------------------------------------------------------------------------------


def test_other_metadata_and_the_tensors_stay_where_they_are(tmp_path):
    path = kohya(tmp_path, "old")
    raw = {"ss_output_name": "old", "sshs_model_hash": addnet_hash(path)}
    source = Lora(path)
    copied = write(source, tmp_path / "new.safetensors", wishes=Wishes(set=(("a", "b"),)))
    assert after_header(copied) == after_header(path)
    tensors = {k: v for k, v in header(path).items() if k != "__metadata__"}
    assert {k: v for k, v in header(copied).items() if k != "__metadata__"} == tensors
    assert metadata(copied)["sshs_model_hash"] == "a" * 64
    assert metadata(copied)["a"] == "b" and raw["sshs_model_hash"] == addnet_hash(copied)
    assert metadata(copied)["modelspec.title"] == "Title of old"


def test_a_cast_file_has_new_hashes(tmp_path):
    path = write(kohya(tmp_path, "old"), tmp_path / "new.safetensors", "bf16")
    assert metadata(path)["sshs_model_hash"] == addnet_hash(path) != "a" * 64


def test_a_file_that_gets_its_first_entry_says_its_model_too(tmp_path):
    path = sdxl(tmp_path / "in.safetensors")
    assert metadata(write(path, tmp_path / "copy")) == {}
    titled = write(path, tmp_path / "titled", wishes=Wishes(set=(("modelspec.title", "T"),)))
    assert A1111(titled).version == "SDXL"
    assert metadata(write(titled, tmp_path / "bare", wishes=Wishes("none"))) == {}


def test_a_header_that_nobody_reads_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "MOST_BYTES", 100_000)
    path = save(lora("x"), tmp_path / "in.safetensors")
    before = sorted(tmp_path.iterdir())
    for length, fits in ((45_000, True), (100_001, False)):
        wishes = Wishes(set=(("long", "x" * length),))
        for edit in (
            lambda w: write(path, tmp_path / "out", wishes=w),
            lambda w: select(path, "*", Output(tmp_path / "out", metadata=w)),
        ):
            if fits:
                edit(wishes)
                (tmp_path / "out").unlink()
            else:
                with pytest.raises(LoraError, match=r"header would have .* MB"):
                    edit(wishes)
    assert sorted(tmp_path.iterdir()) == before


def test_a_state_dict_has_metadata_of_any_length(monkeypatch):
    monkeypatch.setattr(sinks, "MOST_BYTES", 100)
    told = StateDict(lora("x"), {"long": "x" * 1000})
    assert len(resize(told, RankRule("rank", 2)).lora.metadata["long"]) == 1000


def test_the_tensors_are_the_same_whatever_the_file_says(tmp_path):
    path = kohya(tmp_path, "old")
    for keep in ("keep", "minimal", "none"):
        loaded = load(write(path, tmp_path / keep, wishes=Wishes(keep)))
        assert same_bits(loaded, load(path))
    assert Path(tmp_path / "none").stat().st_size < Path(tmp_path / "keep").stat().st_size


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


def test_without_alpha_keys_the_metadata_has_none():
    found = metadata_after(
        lambda first: resize(first, RankRule("rank", 3)), lora_file("ab", rank=8)
    )
    assert "ss_network_alpha" not in found
