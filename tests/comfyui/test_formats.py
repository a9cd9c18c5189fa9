"""ComfyUI's own loader as the judge of what stored tensors do to a weight.

Every fixture and a file in each suffix pair are applied to weights by ComfyUI's patcher. It runs
in its own Python (oracle.py); nothing here needs its server. What names mean is held against its
stored key maps (tests/audit.py), and those against it in test_key_maps.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core import Dense, Lora, Reading, StateDict
from tests import helpers
from tests.comfyui.harness import find_comfyui
from tests.core import kinds
from tests.helpers import PAIRS, error, lora, randn

ORACLE = Path(__file__).with_name("oracle.py")


def ask(command: str, path: Path) -> None:
    root, python = find_comfyui()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [str(python), str(ORACLE), command, str(path)],
        cwd=root, env=environment, check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


class Entry:
    """One name of a key map: which rows of which weight it means."""

    def __init__(self, listed: list[Any]) -> None:
        self.raw, key, piece, self.swapped, shape = listed
        self.bias = key.endswith(".bias")
        self.lone = not key.endswith((".weight", ".bias"))
        self.weight = key.removesuffix(".weight")
        self.whole = tuple(shape)
        self.start, length = (piece[1], piece[2]) if piece else (0, None)
        self.shape = (length, *shape[1:]) if piece else self.whole
        self.place = (self.weight, self.start, self.shape[:1])


# -- what stored tensors do -----------------------------------------------------------------------


def control_lora() -> dict[str, torch.Tensor]:
    return kinds.control_lora()


def wan_fun() -> dict[str, torch.Tensor]:
    names = ("lora_unet__blocks_0_cross_attn_k", "lora_unet__blocks_1_ffn_0")
    return helpers.lora_file(names, helpers.KOHYA, alpha=1.0)


def uso() -> dict[str, torch.Tensor]:
    pair = (".up.weight", ".down.weight")
    names = ["single_blocks.37.processor.qkv_lora", "single_blocks.37.processor.proj_lora"]
    names += [
        f"double_blocks.18.processor.{part}_lora{n}" for part in ("qkv", "proj") for n in (1, 2)
    ]
    return helpers.lora_file(names, pair)


RENAMED = {"control": control_lora, "wan_fun": wan_fun, "uso": uso}


def own_files() -> dict[str, tuple[dict[str, torch.Tensor], dict[str, tuple[int, ...]]]]:
    """name -> (tensors, {raw: shape of the weight}): what the fixtures do not have."""
    files: dict[str, Any] = {}
    for number, pair in enumerate(PAIRS):
        raw = f"x.{number}"
        files[f"pair_{number}"] = lora(raw, (12, 10), 3, pair, 1.5, seed=number), {raw: (12, 10)}
    convolution = (8, 6, 3, 3)
    files["mid"] = lora("x", convolution, 3, helpers.KOHYA, 2.0, mid=True), {"x": convolution}
    files["flat_1x1"] = lora("x", (8, 6, 1, 1), 3, flat=True), {"x": (8, 6, 1, 1)}
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        tensors = lora("a", (9, 7), 4, helpers.KOHYA, torch.tensor([1.5], dtype=dtype), dtype)
        tensors |= {k: t.to(dtype) for k, t in kinds.loha("b", 16, 12, 2).items()}
        tensors |= {k: t.to(dtype) for k, t in kinds.lokr("c", (4, 3), (4, 4)).items()}
        tensors |= {
            "d.diff": randn((5, 4), 1, dtype=dtype),
            "d.diff_b": randn((5,), 2, dtype=dtype),
        }
        shapes = {"a": (9, 7), "b": (16, 12), "c": (16, 12), "d": (5, 4), "d.bias": (5,)}
        files[name] = tensors, shapes
    both = lora("x", (16, 12), 2) | kinds.loha("x", 16, 12, 2) | {"x.alpha": torch.tensor(0.5)}
    files["lora_and_loha"] = both, {"x": (16, 12)}
    files["loha_and_lokr"] = (
        kinds.loha("x", 16, 12, 2) | kinds.lokr("x", (4, 3), (4, 4)), {"x": (16, 12)},
    )  # fmt: skip
    files["lora_and_diff"] = lora("x", (6, 5), 2) | {"x.diff": randn((6, 5))}, {"x": (6, 5)}
    files["diff_and_dora"] = (
        {"x.diff": randn((6, 5)), "x.dora_scale": torch.ones(6, 1)}, {"x": (6, 5)},
    )  # fmt: skip
    two = lora("x", (6, 5), 2, helpers.KOHYA) | lora("x", (6, 5), 3, PAIRS[1], seed=1)
    files["two_pairs"] = two, {"x": (6, 5)}
    half = lora("x", (6, 5), 2) | {"x.lora_down.weight": randn((3, 5))}
    files["a_pair_and_a_half"] = half, {"x": (6, 5)}
    elsewhere = lora("x", convolution, 3) | {"x.lora_mid.weight": randn((3, 3, 3, 3))}
    files["mid_elsewhere"] = elsewhere, {"x": convolution}
    norms = {"x.w_norm": randn((6,)), "y.b_norm": randn((6,), 1), "z.w_norm": randn((6,), 2)}
    norms |= {"z.b_norm": randn((6,), 3), "z.diff": randn((6,), 4)}
    files["norms"] = norms, {name: (6,) for name in ("x", "y", "z", "z.bias")}
    return files


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file, and ComfyUI's answers."""
    folder = tmp_path_factory.mktemp("changes")
    (folder / "base").mkdir()
    (folder / "renamed").mkdir()
    base = load_file(kinds.FOLDER / "base.safetensors")
    for name in kinds.NAMES:
        tensors = load_file(kinds.FOLDER / f"{name}.safetensors")
        save_file(tensors, folder / f"{name}.safetensors")
        raws = {m.raw: m.raw for m in Lora(StateDict(tensors)).modules.values()}
        weights = {}
        for raw in raws:
            path = next(p for p in base if flat(raw).endswith(flat(p.removesuffix(".weight"))))
            weights[raw] = base[path]
            weights[f"{raw}.bias"] = base[path.removesuffix("weight") + "bias"]
        save_file(weights, folder / "base" / f"{name}.safetensors")
    for name, (tensors, shapes) in own_files().items():
        save_file({k: t.contiguous() for k, t in tensors.items()}, folder / f"{name}.safetensors")
        weights = {raw: randn(shape, raw, "w") for raw, shape in shapes.items()}
        save_file(weights, folder / "base" / f"{name}.safetensors")
    for name, make in RENAMED.items():
        save_file(make(), folder / "renamed" / f"{name}.safetensors")
    ask("changes", folder)
    return folder


def flat(name: str) -> str:
    return name.replace(".", "_")


def ours_and_theirs(
    folder: Path,
    name: str,
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> Iterator[tuple]:
    """(raw, our change, ComfyUI's change) of every weight and bias of a file."""
    ours = kinds.changes(folder / f"{name}.safetensors", reading)
    theirs = load_file(folder / "changes" / f"{name}.safetensors")
    assert ours.keys() == theirs.keys()
    for raw, change in theirs.items():
        yield raw, ours[raw].reshape(change.shape), change.double()


# Files of kinds that are read without the base model, and what ComfyUI fails on in them.
READ = [name for name in kinds.NAMES if name not in kinds.NEEDS_BASE]
FAILS = {"lokr_tucker": "conv1", "peft_lokr_tucker": "conv1"}


@pytest.mark.parametrize("name", [*READ, *own_files()])
def test_our_change_is_the_one_that_comfyui_makes(changes, name):
    errors = json.loads((changes / "errors.json").read_text())
    failed = {key.partition(": ")[2] for key in errors if key.startswith(f"{name}: ")}
    assert [raw.endswith(FAILS[name]) for raw in failed] == [True] if name in FAILS else not failed
    for raw, ours, theirs in ours_and_theirs(changes, name):
        if raw in failed:
            # torch.kron refuses what ComfyUI gives it, and the weight stays. Here the formula
            # counts; test_adapters.py holds it against the library that trained the file.
            assert not theirs.any() and ours.any()
        else:
            assert error(ours, theirs) < 1e-5, raw


# PEFT's magnitudes, which ComfyUI does not read, mean what they mean there.
@pytest.mark.parametrize("name", sorted(kinds.NEEDS_BASE - {"diffusers_dora"}))
def test_with_the_base_our_change_is_the_one_that_comfyui_makes(changes, name):
    opened = Lora(changes / f"{name}.safetensors", base=kinds.FOLDER / "base.safetensors")
    theirs = load_file(changes / "changes" / f"{name}.safetensors")
    for module in opened.modules.values():
        update = module.update(kinds.CPU, torch.float64)
        ours = update.values if isinstance(update, Dense) else update.dense()
        assert error(ours.reshape(theirs[module.raw].shape), theirs[module.raw].double()) < 1e-5


def test_comfyui_applies_a_diffusers_dora_as_what_is_left_without_its_magnitude(changes):
    for raw, ours, theirs in ours_and_theirs(
        changes, "diffusers_dora", Reading(drop_magnitude=True)
    ):
        assert error(ours, theirs) < 1e-5, raw


@pytest.mark.parametrize("name", RENAMED)
def test_whole_files_are_renamed_as_comfyui_renames_them(changes, name):
    renamed = json.loads((changes / "renamed.json").read_text())
    assert sorted(Lora(changes / "renamed" / f"{name}.safetensors").tensors.info) == renamed[name]
