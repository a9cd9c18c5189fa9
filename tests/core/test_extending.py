"""A family and an adapter kind are one file each: the examples of ARCHITECTURE.md at work."""

import importlib
import re
import shutil
from pathlib import Path

import pytest
import torch

from tests import helpers
from tests.helpers import dense, error, lora, randn

ROOT = Path(__file__).parents[2]
PARTS = [f"transformer.transformer_blocks.3.attn.to_{part}" for part in "qkv"]
QKV = "lora_unet_blocks_3_attn_qkv"
NAME = "diffusion_model.blocks.0.self_attn.q"


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of core with the examples in it, as a package of its own."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(
        ROOT / "core", folder / "extended_core", ignore=shutil.ignore_patterns("__pycache__")
    )
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n# core/(\S+)\n(.*?)```", text, re.DOTALL)
    assert [path for path, _ in examples] == ["naming/families/tiny_dit.py", "adapters/lora_xs.py"]
    for path, code in examples:
        with open(folder / "extended_core" / path, "x", encoding="utf-8") as file:
            file.write(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("extended_core")


@pytest.mark.slow
def test_the_new_family_is_recognised_by_its_names(extended):
    file = lora(QKV, (24, 8), 2, helpers.KOHYA, 2.0) | lora("lora_unet_blocks_3_attn_proj", (8, 8))
    metadata = {"ss_base_model_version": "tiny_dit"}
    found = extended.Lora(extended.StateDict(file, metadata)).recognition
    assert str(found) == "Tiny DiT (certain, 2 of 2 names known)"
    split = extended.Lora(extended.StateDict(lora(PARTS[1], (8, 8)), metadata))
    assert list(split.modules) == ["blocks.3.attn.qkv.k"]


def test_the_new_family_is_fused_and_split(extended):
    metadata = {"ss_base_model_version": "tiny_dit"}
    whole = extended.StateDict(lora(QKV, (24, 8), 2, helpers.KOHYA, 2.0), metadata)
    split = extended.StateDict(helpers.lora_file(PARTS, shape=(8, 8), rank=2), metadata)
    exact = dense(whole)[QKV] + 0.5 * torch.cat([dense(split)[part] for part in PARTS])
    settings = extended.Blend(weights=(1.0, 0.5), rank="full")
    assert error(dense(extended.blend(whole, split, settings).lora)[QKV], exact) < 1e-6
    settings = extended.Blend(weights=(0.5, 1.0), rank="full")
    written = dense(extended.blend(split, whole, settings).lora)
    assert list(written) == PARTS
    assert error(torch.cat(list(written.values())), exact) < 1e-6
    there = extended.convert(whole, extended.Output(spelling="diffusers")).lora
    assert list(dense(there)) == PARTS


def lora_xs(seed: int = 0) -> dict[str, torch.Tensor]:
    shapes = {"up": (16, 3), "core": (3, 3), "down": (3, 12)}
    return {f"{NAME}.xs_{key}": randn(shape, seed, key) for key, shape in shapes.items()}


def meaning(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    up, core, down = (tensors[f"{NAME}.xs_{key}"].double() for key in ("up", "core", "down"))
    return up @ core @ down


def test_the_new_kind_is_blended_and_resized_into_lora(extended):
    one, two = lora_xs(1), lora(NAME, (16, 12), 2)
    exact = 0.5 * meaning(one) - 2.0 * dense(two)[NAME]
    for first, second, weights in ((one, two, (0.5, -2.0)), (two, one, (-2.0, 0.5))):
        settings = extended.Blend(weights=weights, rank="full")
        assert error(dense(extended.blend(first, second, settings).lora)[NAME], exact) < 1e-5
    resized = extended.resize(one, extended.RankRule("rank", 2)).lora
    best = helpers.best_error(meaning(one), 2)
    assert error(dense(resized)[NAME], meaning(one)) == pytest.approx(best, rel=1e-4)


def test_the_new_kind_is_described_carried_and_renamed(extended):
    file = lora_xs()
    (module,) = extended.Lora(file).modules.values()
    assert (module.adapter.kind.name, module.rank, module.out_features) == ("LoRA-XS", 3, 16)
    assert helpers.same_bits(extended.select(file, "")[0].lora, file)
    renamed = extended.convert(file, extended.Output(spelling="kohya")).lora
    assert set(renamed) == {
        f"lora_unet_blocks_0_self_attn_q.xs_{k}" for k in ("up", "core", "down")
    }
    del file[f"{NAME}.xs_core"]
    with pytest.raises(extended.LoraError, match="no core factor"):
        extended.Lora(file)
