"""Every kind under every name, on models that ComfyUI builds and patches: the change is ours.

The models are small; what they fuse, split and reorder is as in the large ones. ComfyUI runs in its
own Python (oracle.py) and makes the key maps, the patches and the changes of the weights itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core import Blend, Output, StateDict, blend, convert
from core.naming.spelling import GENERIC, split_prefix
from tests.comfyui.test_formats import Entry, ask, flat
from tests.core import kinds
from tests.helpers import PAIRS, error, lora, randn

MODELS = ("Flux", "SD3", "Z-Image")
KINDS = ("LoRA", "LoHa", "LoKr", "LoKr of factors", "difference")


def stored(kind: str, entry: Entry, biased: set[str], seed: object) -> dict[str, torch.Tensor]:
    """A module of a kind under the entry's name, with a bias where ComfyUI reads one."""
    raw, (rows, columns) = entry.raw, entry.shape
    half, alpha = (rows // 2, columns // 2), {f"{raw}.alpha": torch.tensor(1.5)}
    number = sum(raw.encode())
    tensors = {
        "LoRA": lora(raw, entry.shape, 2, PAIRS[number % len(PAIRS)], 1.5, seed=seed),
        "LoHa": kinds.loha(raw, rows, columns, 2, seed) | alpha,
        "LoKr": kinds.lokr(raw, (2, 2), half, seed) | alpha,
        "LoKr of factors": {
            f"{raw}.lokr_w1": randn((2, 2), seed, raw),
            f"{raw}.lokr_w2_a": randn((half[0], 2), seed, raw, "a"),
            f"{raw}.lokr_w2_b": randn((2, half[1]), seed, raw, "b"),
        }
        | alpha,
        "difference": {f"{raw}.diff": randn(entry.shape, seed, raw)},
    }[kind]
    if entry.weight in biased and entry.shape == entry.whole and not entry.swapped:
        tensors = tensors | {f"{raw}.diff_b": randn((rows,), seed, raw, "bias")}
    return tensors


def file(entries: Iterable[Entry], chosen: Sequence[str], biased: set[str]) -> StateDict:
    """Every entry, in the chosen kinds by turns."""
    tensors = StateDict()
    for number, entry in enumerate(entries):
        tensors |= stored(chosen[number % len(chosen)], entry, biased, number)
    return StateDict(tensors)


class Asked:
    """Files of every kind in every style, and what ComfyUI makes of them."""

    def __init__(self, folder: Path) -> None:
        ask("small", folder / "names.json")
        maps = json.loads((folder / "names.json").read_text())
        self.files: dict[tuple[str, str, str], StateDict] = {}
        for model in MODELS:
            listed = list(map(Entry, maps[model]))
            biased = {entry.weight.removesuffix(".bias") for entry in listed if entry.bias}
            entries = [entry for entry in listed if usable(entry)]
            styles = {"any": entries}
            for entry in entries:
                styles.setdefault(style_of(entry), []).append(entry)
            for style, names in styles.items():
                # A few names by themselves can be those of another family.
                for kind in (*KINDS, "every kind") if len(names) > 3 else ():
                    chosen = KINDS if kind == "every kind" else [kind]
                    self.files[model, style, kind] = file(names, chosen, biased)
        self.changes = {}
        for number, (key, tensors) in enumerate(self.files.items()):
            save_file(tensors, folder / f"{key[0]}.{number}.safetensors")
        ask("patched", folder)
        for number, key in enumerate(self.files):
            found = load_file(folder / "patched" / f"{key[0]}.{number}.safetensors")
            self.changes[key] = {k.removesuffix(".weight"): t.double() for k, t in found.items()}


def usable(entry: Entry) -> bool:
    """Matrices of even sizes: LoKr's factors here are halves."""
    return not entry.bias and len(entry.whole) == 2 and not any(n % 2 for n in entry.shape)


def style_of(entry: Entry) -> str:
    """How a name is made: its prefix, and whether the model's own name follows it."""
    prefix, path = split_prefix(entry.raw)
    return f"{prefix} {'native' if flat(path) == flat(entry.weight) else 'diffusers'}"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(tmp_path_factory.mktemp("patched"))


def assert_same(written: StateDict, exact: dict[str, torch.Tensor]) -> None:
    ours = kinds.changes(written)
    assert ours.keys() == exact.keys()
    for raw, change in exact.items():
        assert error(ours[raw].reshape(change.shape), change) < 1e-5, raw


@pytest.mark.parametrize("kind", [*KINDS, "every kind"])
@pytest.mark.parametrize("model", MODELS)
def test_the_change_is_the_one_that_comfyui_makes(asked, model, kind):
    styles = [style for m, style, k in asked.files if (m, k) == (model, kind)]
    assert len(styles) > 5
    for style in styles:
        key = model, style, kind
        written = convert(asked.files[key], Output(spelling=GENERIC), kinds.EXACT).lora
        assert_same(written, asked.changes[key])


@pytest.mark.parametrize("model", MODELS)
def test_any_kind_in_any_style_blends_with_any_other(asked, model):
    keys = [key for key in asked.files if key[0] == model and key[2] == "every kind"]
    for one, two in product(keys, keys):
        first, second = asked.changes[one], asked.changes[two]
        exact = {
            raw: sum(w * c[raw] for w, c in ((0.7, first), (-0.4, second)) if raw in c)
            for raw in first.keys() | second.keys()
        }
        settings, output = Blend((0.7, -0.4), "full"), Output(spelling=GENERIC)
        files = asked.files[one], asked.files[two]
        assert_same(blend(*files, settings, output, kinds.EXACT).lora, exact)
