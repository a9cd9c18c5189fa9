"""The command average, and weights by the names of files.

Also of commands/average.py: what they do.
"""

import os

import pytest
from safetensors.torch import load_file

from core import Blend, SettingError, average_weights, blend
from core.cli.main import main
from tests.helpers import assert_close, dense, lora_file, save

NAMES = ["blocks.0.attn", "blocks.1.attn"]
FILES = {f"epoch{number}": lora_file(NAMES, seed=number) for number in (2, 10, 1)}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for age, (name, tensors) in enumerate(FILES.items()):
        save(tensors, tmp_path / f"{name}.safetensors")
        os.utime(f"{name}.safetensors", (0, 1000 - age))


def paths() -> list[str]:
    return [f"{name}.safetensors" for name in FILES]


def written(*arguments: str):
    assert main([*arguments, "--rank", "full", "-o", "out.safetensors", "--force"]) == 0
    return dense(load_file("out.safetensors"))


def expected(shares: dict[str, float]):
    parts = {name: dense(tensors) for name, tensors in FILES.items()}
    return {key: sum(w * parts[name][key] for name, w in shares.items()) for key in NAMES}


@pytest.mark.parametrize("options, order, profile", [
    ("", [2, 10, 1], {}),
    ("--decay 0.9", [2, 10, 1], {"decay": 0.9}),
    ("--decay 0.9 --order name", [1, 2, 10], {"decay": 0.9}),
    ("--decay 0.5 0.9 --order date", [1, 10, 2], {"decay": [0.5, 0.9]}),
    ("--sigma-rel 0.2 --order name", [1, 2, 10], {"sigma_rel": 0.2}),
])  # fmt: skip
def test_average_is_the_sum_at_the_weights_of_its_profile(options, order, profile, capsys):
    found = written("average", *paths(), *options.split(), "--verify")
    weights = average_weights(3, **profile)
    shares = {f"epoch{number}": w for number, w in zip(order, weights, strict=True)}
    assert_close(found, expected(shares))
    told = capsys.readouterr().out
    assert f"epoch{order[-1]}.safetensors {weights[-1]:.3g}" in told
    assert ("--order name" in told) == (options == "--decay 0.9")


def test_a_recipe_makes_an_average_again():
    written("average", *paths(), "--decay", "0.7")
    assert main(["recipe", "out.safetensors", "--run", "-o", "again.safetensors"]) == 0
    again, first = load_file("again.safetensors"), load_file("out.safetensors")
    assert all(tensor.equal(first[key]) for key, tensor in again.items())


def test_weights_by_name_count_from_the_command_line_and_from_python():
    shares = {"epoch2": 0.25, "epoch10": 0.25, "epoch1": -0.5}
    words = ["--weights", "epoch*.safetensors=0.25", "epoch1=-5e-1"]
    assert_close(written("blend", *paths(), *words), expected(shares))
    patterns = {"epoch*": 0.25, "epoch1": -0.5}
    assert_close(dense(blend(paths(), settings=Blend(patterns, "full")).lora), expected(shares))
    checked = ["verify", "out.safetensors", "--max-error", "1e-6", "--inputs", *paths(), *words]
    assert main(checked) == 0


@pytest.mark.parametrize("patterns, words", [
    ({"epoch1*": 1.0}, "epoch2.safetensors: no pattern of the weights fits it"),
    ({"*": 1.0, "style": 2.0}, "no file fits the pattern 'style'"),
])  # fmt: skip
def test_names_and_patterns_that_are_left_over_are_refused(patterns, words):
    with pytest.raises(SettingError, match=words):
        blend(paths(), settings=Blend(patterns))


def test_numbers_and_patterns_together_are_wrong_usage(capsys):
    with pytest.raises(SystemExit):
        main(["blend", *paths(), "--weights", "1", "*=1", "-o", "out.safetensors"])
    assert "not some of both" in capsys.readouterr().err
