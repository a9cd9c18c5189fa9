"""Errors say what kind they are, where they happened and how to go on; all on one line."""

import ast
import pickle
import re
from pathlib import Path

import pytest
import torch

from core import (
    Blend,
    FileError,
    Lora,
    LoraError,
    MismatchError,
    Output,
    RankRule,
    SettingError,
    analyze_lora,
    balance,
    blend,
    chart,
    choose_blocks,
    choose_device,
    convert,
    load,
    resize,
    save,
    save_chart,
    select,
    sort_table,
    top_blocks,
    trainer_config,
    verify,
)
from core.errors import located
from core.storage.sinks import FileSink
from tests.core.test_bad_input import BASE, CONTENTS, spoilt
from tests.every_edit import EDITS
from tests.helpers import KOHYA, flux_file, lora, lora_file, randn
from tests.helpers import save as write

FLUX_ONLY = "double_blocks.0"


def test_an_error_says_where_what_and_how_to_go_on():
    error = FileError("is odd", "mend it", file="f", module="m", tensor="t")
    assert str(error) == "f: module m: tensor t: is odd; mend it"
    assert str(LoraError("it is odd", "mend it")) == "it is odd; mend it"
    assert isinstance(error, LoraError) and isinstance(error, ValueError)


def test_an_error_is_one_line_whatever_the_names():
    error = FileError("is\r\nodd", "mend\nit", file="a\nb", module="c\u2028d")
    assert str(error) == "a b: module c d: is odd; mend it"


def test_an_error_can_be_sent_to_another_process():
    error = MismatchError("it is odd", "mend it", file="f", module="m")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is MismatchError and vars(copy) == vars(error) and str(copy) == str(error)


def test_an_error_is_told_what_lies_around_the_place_that_it_knows():
    of_a_tensor = LoraError("is odd", "mend it", tensor="own").at(file="f", module="m", tensor="t")
    assert (of_a_tensor.file, of_a_tensor.module, of_a_tensor.tensor) == ("f", "m", "own")
    of_a_module = LoraError("is odd", "mend it", module="own").at(file="f", module="m", tensor="t")
    assert (of_a_module.file, of_a_module.module, of_a_module.tensor) == ("f", "own", "")
    of_a_file = LoraError("is odd", "mend it", file="own").at(file="f", module="m", tensor="t")
    assert (of_a_file.file, of_a_file.module, of_a_file.tensor) == ("own", "", "")
    of_nothing = LoraError("is odd", "mend it").at(module="m").at(file="f", module="outer")
    assert (of_nothing.file, of_nothing.module) == ("f", "m")


def test_located_tells_errors_and_leaves_others_alone():
    error = LoraError("it is odd", "mend it")
    with pytest.raises(LoraError), located(file="f"), located(module="m"):
        raise error
    assert str(error) == "f: module m: it is odd; mend it"
    with pytest.raises(KeyError), located(file="f"):
        raise KeyError("x")


@pytest.mark.parametrize("name", ["a", "r", "x", "module"])
def test_a_module_is_named_whatever_the_words_of_its_error_contain(name, monkeypatch):
    # "a" occurs in almost every sentence, and so was taken for named.
    monkeypatch.setattr("core.edits.mixture.total", fail)
    with pytest.raises(
        LoraError, match=rf"^state dict: module {name}: is damaged at random; "
    ) as e:
        blend(lora(name), None, Blend((0.5,), rank=1))
    assert (e.value.file, e.value.module, e.value.tensor) == ("state dict", name, "")


def fail(*_):
    raise LoraError("is damaged at random", "read the sentence again")


def test_a_module_of_one_file_names_that_file_only(tmp_path, monkeypatch):
    monkeypatch.setattr("core.edits.mixture.total", fail)
    one, two = (
        write(lora_file(names), tmp_path / f"{file}.safetensors")
        for file, names in (("one", "a"), ("two", "b"))
    )
    shared = write(lora_file("abc", seed=1), tmp_path / "shared.safetensors")
    for inputs, layers, files in (
        ((one, shared), "a", "one.safetensors and shared.safetensors"),
        ((one, shared), "b", "shared.safetensors"),
        ((shared, two), "b", "shared.safetensors and two.safetensors"),
    ):
        with pytest.raises(LoraError) as caught:
            blend(*inputs, Blend((2.0,), rank=1, layers=layers))
        assert (caught.value.file, caught.value.module) == (files, layers)


def test_where_an_error_knows_its_file_the_others_are_not_blamed(tmp_path):
    one = write(lora_file("xy"), tmp_path / "one.safetensors")
    two = write(spoilt("x.lora_A.weight", float("nan")), tmp_path / "two.safetensors")
    with pytest.raises(FileError) as caught:
        blend(one, two)
    error = caught.value
    assert (error.file, error.module, error.tensor) == ("two.safetensors", "x", "x.lora_A.weight")
    assert error.problem == "contains NaN or Inf" and "damaged" in error.fix


def analysed(**kept):
    return analyze_lora(flux_file("kohya"), **kept)


def no_file(folder):
    return folder / "no.safetensors"


def a_file(folder):
    return write(lora_file("xy"), folder / "in.safetensors")


# What is wrong -> (its class, a call that runs into it)
WRONG = {
    "no file": (FileError, lambda f: Lora(no_file(f))),
    "no file to load": (FileError, lambda f: load(no_file(f))),
    "a folder": (FileError, lambda f: Lora(f)),
    "a pickle": (FileError, lambda f: Lora(f / "old.pt")),
    "a text": (FileError, lambda f: Lora(text_file(f))),
    "no path": (SettingError, lambda f: Lora(3)),
    "no tensors": (SettingError, lambda f: Lora({"x": 3})),
    "nothing applied": (FileError, lambda f: Lora({"x.b_norm": torch.ones(2)})),
    "output folder": (FileError, lambda f: convert(a_file(f), Output(f))),
    "output in no folder": (FileError, lambda f: convert(a_file(f), Output(f / "a" / "b"))),
    "output with a null": (FileError, lambda f: convert(a_file(f), Output(f"{f}/a\0b"))),
    "output is input": (FileError, lambda f: convert(a_file(f), Output(a_file(f)))),
    "a long name": (FileError, lambda f: convert(a_file(f), Output(f / ("x" * 300)))),
    "a dtype of torch": (FileError, lambda f: put(f, torch.ones(2, dtype=torch.complex64))),
    "too large": (SettingError, lambda f: convert(large(), Output(dtype="fp16"))),
    "too large to save": (SettingError, lambda f: save(large(), f / "out", "fp16")),
    "overflow": (LoraError, lambda f: blend(large(3e38), None, Blend((2.0,), "full"))),
    "spelling": (SettingError, lambda f: Output(spelling="morse")),
    "dtype": (SettingError, lambda f: Output(dtype="int3")),
    "device": (SettingError, lambda f: choose_device("cuda:99")),
    "rank": (SettingError, lambda f: Blend(rank=0)),
    "weights": (SettingError, lambda f: Blend((float("nan"), 1.0))),
    "method": (SettingError, lambda f: Blend(method="magic")),
    "oversampling": (SettingError, lambda f: Blend(oversampling=-1)),
    "balance": (SettingError, lambda f: balance("odd")),
    "temperature": (SettingError, lambda f: balance("softmax", temperature=0.0)),
    "block weights": (SettingError, lambda f: blend(lora("x"), None, Blend(block_weights="x 1"))),
    "blocks": (SettingError, lambda f: blend(lora("x"), None, Blend(block_weights="z: 1"))),
    "infinite": (
        SettingError,
        lambda f: blend(lora("x"), None, Blend((1e300,), block_weights="x: 1e300")),
    ),
    "selector": (SettingError, lambda f: select(a_file(f), "z")),
    "selector of all": (SettingError, lambda f: select(a_file(f), "-*")),
    "no rest": (SettingError, lambda f: select(a_file(f), "*", rest=Output())),
    "a lone minus": (SettingError, lambda f: select(a_file(f), "-")),
    "backwards": (SettingError, lambda f: select(a_file(f), "x.3-1")),
    "long range": (SettingError, lambda f: select(a_file(f), "x.1-99999")),
    "both parts": (
        FileError,
        lambda f: select(a_file(f), "x", Output(f / "out"), Output(f / "out")),
    ),
    "rule": (SettingError, lambda f: RankRule("odd")),
    "rule's rank": (SettingError, lambda f: RankRule("rank", 0.5)),
    "rule's share": (SettingError, lambda f: RankRule("energy", 2)),
    "rule's ratio": (SettingError, lambda f: RankRule("sv_ratio", 0.5)),
    "rule's budget": (SettingError, lambda f: RankRule("megabytes", 0)),
    "rule's least": (SettingError, lambda f: RankRule("knee", min_rank=0)),
    "rule's limits": (SettingError, lambda f: RankRule("knee", min_rank=3, max_rank=2)),
    "budget": (SettingError, lambda f: resize(a_file(f), RankRule("parameters", 1))),
    "budget in bytes": (SettingError, lambda f: resize(a_file(f), RankRule("megabytes", 1e-4))),
    "all removed": (SettingError, lambda f: blend(lora("x"), None, Blend((0.0,)))),
    "two models": (MismatchError, lambda f: blend(a_file(f), lora("z"))),
    "two shapes": (MismatchError, lambda f: blend(a_file(f), lora("x", (8, 8)))),
    "two tables": (
        MismatchError,
        lambda f: blend(lora("x") | {"odd": randn((2,))}, lora("x") | {"odd": randn((3,))}),
    ),
    "two weights": (SettingError, lambda f: verify(lora("x"), [lora("x")], [1, 2])),
    "statistics": (SettingError, lambda f: analysed(statistics="odd")),
    "layers": (SettingError, lambda f: analysed(layers="odd")),
    "top": (SettingError, lambda f: analysed(svd_topk=0)),
    "column": (SettingError, lambda f: sort_table(analysed(), "odd")),
    "chart": (SettingError, lambda f: chart(analysed(), "pie")),
    "empty chart": (FileError, lambda f: chart(analysed().head(0), "blocks")),
    "chart's ending": (FileError, lambda f: save_chart(None, f / "chart.gif")),
    "no blocks": (FileError, lambda f: choose_blocks(a_file(f))),
    "threshold": (SettingError, lambda f: choose_blocks(flux_file("kohya"), 2.0)),
    "importance": (SettingError, lambda f: choose_blocks(flux_file("kohya"), importance="odd")),
    "another's blocks": (
        MismatchError,
        lambda f: top_blocks(a_file(f), choose_blocks(flux_file("kohya"))),
    ),
    "trainer": (SettingError, lambda f: trainer_config("odd", Lora(a_file(f)), [])),
    "trainer's blocks": (
        MismatchError,
        lambda f: trainer_config("peft", Lora(a_file(f)), [FLUX_ONLY]),
    ),
}  # fmt: skip


def text_file(folder):
    (folder / "text.safetensors").write_text("<html>not found</html>")
    return folder / "text.safetensors"


def put(folder, tensor):
    with FileSink(folder / "out.safetensors") as sink:
        sink.put("x", tensor)


def large(size=1e6):
    return {key: torch.full_like(t, size) for key, t in lora("x").items()}


def check(error: LoraError) -> None:
    assert error.problem and error.fix and len(str(error).splitlines()) == 1
    for part in (error.file, error.module, error.tensor, error.problem, error.fix):
        assert part in str(error)
    # A place is said once, in its field: the sentence does not repeat it.
    assert not error.problem.startswith(("module ", "tensor "))


@pytest.mark.parametrize("wrong", WRONG)
def test_every_error_says_of_which_kind_it_is_and_shows_a_way_out(tmp_path, wrong):
    kind, call = WRONG[wrong]
    with pytest.raises(LoraError) as caught:
        call(tmp_path)
    check(caught.value)
    assert isinstance(caught.value, kind), type(caught.value)
    if kind is not SettingError:
        assert caught.value.file


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("content", CONTENTS)
def test_every_broken_file_is_a_file_error_with_its_place(edit, content):
    tensors, _ = CONTENTS[content]
    with pytest.raises(FileError) as caught:
        EDITS[edit](tensors, Output())
    check(caught.value)
    assert caught.value.file == "state dict"
    assert caught.value.module == ("" if content == "no LoRA tensors" else "x")


@pytest.mark.parametrize("kind", BASE)
def test_a_kind_that_needs_the_base_model_is_a_file_error(kind):
    tensors = BASE[kind] | (lora("x") if kind != "set weight" else {}) | lora("y", pair=KOHYA)
    with pytest.raises(FileError) as caught:
        blend(tensors, None, Blend((0.5,)))
    check(caught.value)
    assert caught.value.module == "x" and "layers selector" in caught.value.fix


def test_messages_name_settings_and_not_options_of_the_command_line():
    """Nodes show them, too. What is written for a trainer has the trainer's options."""
    for path in (Path(__file__).parents[2] / "core").rglob("*.py"):
        if "cli" in path.parts or path.name in ("trainer_configs.py", "trainers.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"(?<![-\w])--[a-z]", node.value), (path, node.value)
