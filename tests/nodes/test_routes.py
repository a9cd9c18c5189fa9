"""What the page's script is told, of nothing but files that ComfyUI lists; and LoRA Blocks."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from .running import KOHYA, dense, lora, run


@pytest.fixture
def routes(pack: Any, folders: Path) -> Any:
    return importlib.import_module(f"{pack.__name__}.routes")


def test_a_listed_file_is_described_without_paths(routes: Any, folders: Path) -> None:
    save_file(lora(), folders / "loras/one.safetensors", {"modelspec.title": "<b>One</b>"})
    answer = routes.lora_answer("one.safetensors")
    assert (
        dict(answer["facts"])["ranks"] == "4"
        and answer["title"] == "<b>One</b>"
        and not answer["preview"]
    )
    (folders / "loras/one.preview.png").write_bytes(b"a picture")
    assert routes.lora_answer("one.safetensors")["preview"]
    assert routes.preview_of("one.safetensors").name == "one.preview.png"
    save_file(lora(blocks=2), folders / "loras/one.safetensors")
    (group,) = routes.lora_answer("one.safetensors")["groups"]
    assert len(group["blocks"]) == 2, "replaced on the disk"
    assert str(folders) not in json.dumps(routes.lora_answer("one.safetensors"))


@pytest.mark.parametrize("damaged", [b"", b"no safetensors", b"\xff" * 100])
def test_an_error_names_the_file_as_the_list_does(
    routes: Any, folders: Path, damaged: bytes
) -> None:
    (folders / "loras/sub").mkdir()
    (folders / "loras/sub/bad.safetensors").write_bytes(damaged)
    (error,) = routes.lora_answer("sub/bad.safetensors").values()
    assert error.startswith("sub/bad.safetensors: ") and str(folders) not in error


@pytest.mark.parametrize(
    "name", ["", "../secret.safetensors", "{}/secret.safetensors", "two.txt", "x\0", "n" * 300]
)
def test_no_other_file_can_be_named(routes: Any, folders: Path, name: str) -> None:
    for secret in ("secret.safetensors", "secret.png"):
        save_file(lora(), folders / secret)
    (folders / "loras/two.txt").write_text("not in the list")
    (folders / "loras/two.png").write_text("beside what is not in the list")
    name = name.format(folders)
    assert routes.lora_answer(name).keys() == {"error"}
    assert routes.preview_of(name) is None
    assert routes.meaning_answer({"loras": [name], "layers": ""}).keys() == {"error"}


def test_a_text_means_what_the_edit_makes_of_it(routes: Any, folders: Path) -> None:
    save_file(lora(), folders / "loras/one.safetensors")
    asked = {"loras": ["one.safetensors"]}
    said = routes.meaning_answer(asked | {"block_weights": "double_blocks.1: 0.5"})
    assert said == {"weights": {"double_blocks.1.img_mlp.0": [0.5]}, "notes": []}
    said = routes.meaning_answer(asked | {"layers": "-double_blocks.0"})
    assert said["selected"] == [f"double_blocks.{i}.img_mlp.0" for i in (1, 2)]
    said = routes.meaning_answer(asked | {"block_weights": "duble_blocks: 1"})
    assert "did you mean double_blocks" in said["error"]


ODD = [
    None, [], {}, {"loras": "one"}, {"loras": [1], "layers": ""}, {"loras": [], "layers": ""},
    {"loras": [], "layers": 3}, {"loras": ["x"] * 51, "layers": ""},
    {"loras": [], "layers": "x" * 200_000},
]  # fmt: skip


@pytest.mark.parametrize("asked", ODD)
def test_whatever_is_asked_is_answered(routes: Any, asked: Any) -> None:
    assert routes.meaning_answer(asked).keys() == {"error"}


def test_only_the_header_is_read(
    routes: Any, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(lora(), folders / "loras/one.safetensors")
    core = importlib.import_module("alloy_pack.core")
    opened = core.Lora(folders / "loras/one.safetensors")
    monkeypatch.setattr(type(opened.tensors), "__getitem__", None)
    assert routes.lora_answer("one.safetensors")["groups"]


def test_blocks_are_weighed_and_the_rest_is_copied(nodes: dict[str, Any]) -> None:
    source = lora()
    weighed, report = run(
        nodes["LoraAlloyBlocks"], lora=source, block_weights="double_blocks.1: -0.5", strength=1.0
    )
    name = KOHYA.format(0)
    assert all(
        torch.equal(weighed[key], tensor) for key, tensor in source.items() if key.startswith(name)
    )
    assert torch.allclose(dense(weighed, 1), -0.5 * dense(source, 1))
    assert "scaled" in report
