"""LoRA Convert, LoRA Select, and what Load and Save say beside the tensors."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from .running import KOHYA, dense, lora, run


def test_convert_renames_and_casts(nodes: dict[str, Any]) -> None:
    half, report = run(nodes["LoraAlloyConvert"], lora=lora(), spelling="diffusers", dtype="bf16")
    name = "transformer.transformer_blocks.0.ff.net.0.proj.lora_{}.weight"
    up, down = (half[name.format(side)] for side in "BA")
    assert up.dtype == torch.bfloat16 and not any("alpha" in key for key in half)
    exact = dense(lora(), 0)
    assert (up.double() @ down.double() - exact).norm() < 5e-3 * exact.norm()
    assert report.startswith("## Convert\n")


def test_select_takes_some_and_hands_out_the_others(nodes: dict[str, Any]) -> None:
    from comfy_execution.graph_utils import ExecutionBlocker

    node, source = nodes["LoraAlloySelect"], lora()
    kept, rest, report = run(node, lora=source, layers="double_blocks.1-2")
    assert {key for key in source if KOHYA.format(0) in key} == rest.keys()
    assert {**kept, **rest}.keys() == source.keys()
    assert all(torch.equal({**kept, **rest}[key], source[key]) for key in source)
    assert kept.name == "part of the LoRA at lora" and report.startswith("## Select\n")
    kept, rest, _ = run(node, lora=source, layers="")
    assert kept.keys() == source.keys() and isinstance(rest, ExecutionBlocker)
    with pytest.raises(ValueError, match=r"'triple' matches no layer"):
        run(node, lora=source, layers="triple")


def test_load_tells_words_and_metadata_and_save_takes_them(
    nodes: dict[str, Any], folders: Path
) -> None:
    said = {"modelspec.trigger_phrase": "ink, brush", "ss_tag": "two\nlines", "a": "b: c"}
    save_file(lora(), folders / "loras/one.safetensors", said)
    loaded, _, words, text = run(nodes["LoraAlloyLoad"], lora_name="one.safetensors")
    assert words == "ink, brush"
    assert text.splitlines() == [
        "a: b: c", "modelspec.trigger_phrase: ink, brush", "ss_tag: two lines",
    ]  # fmt: skip
    loaded.metadata.clear()
    path, _ = run(nodes["LoraAlloySave"], lora=loaded, metadata=text)
    _, _, words, again = run(nodes["LoraAlloyLoad"], lora_name=Path(path).name)
    assert words == "ink, brush" and set(text.splitlines()) <= set(again.splitlines())


def test_a_saved_file_is_read_again_where_that_is_asked_for(
    nodes: dict[str, Any], folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = nodes["LoraAlloySave"]
    path, _ = run(node, lora=lora(), verify=True, dtype="bf16")
    assert load_file(path)[KOHYA.format(0) + ".lora_up.weight"].dtype == torch.bfloat16
    module = importlib.import_module(node.execute.__module__)
    save = module.save

    def damaged(source: Any, path: Path, *rest: Any, **named: Any) -> Path:
        changed = {key: tensor * 1.02 if "up" in key else tensor for key, tensor in source.items()}
        return save(changed, path, *rest, **named)

    monkeypatch.setattr(module, "save", damaged)
    with pytest.raises(ValueError, match=r"was read again, and its error is 0\.0[12]"):
        run(node, lora=lora(), verify=True)
    monkeypatch.setattr(
        module, "save", lambda source, *rest, **named: save(lora(blocks=2), *rest, **named)
    )
    with pytest.raises(ValueError, match=r"it lacks double_blocks\.2\.img_mlp\.0"):
        run(node, lora=lora(), verify=True)


def test_limits_and_numbers_of_parameters(nodes: dict[str, Any], folders: Path) -> None:
    few = {"rule": "parameters", "parameters": 500}
    smaller, _, _ = run(nodes["LoraAlloyRankResize"], lora=lora(), rule=few)
    factors = [tensor for key, tensor in smaller.items() if "weight" in key]
    assert 160 < sum(tensor.numel() for tensor in factors) <= 500
    all_of_it = {"target_rank": "energy", "share": 1.0}
    blended, _ = run(nodes["LoraAlloyBlend"], lora_1=lora(), target_rank=all_of_it, max_rank=3)
    assert {len(t) for key, t in blended.items() if "lora_down" in key} == {3}
