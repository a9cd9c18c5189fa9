"""The rows of LoRA Blend: sockets, files and stacks, weights and block weights of their own."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from .running import EXACT, KOHYA, dense, lora, run
from .schemas import inputs_of

ENCODER = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
INK, ENCODED = "styles/ink.safetensors", "encoded.safetensors"


@pytest.fixture
def rows(pack: Any) -> Any:
    return importlib.import_module(f"{pack.__name__}.rows")


@pytest.fixture
def files(folders: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Two files of the loras folder; the second has a layer of a text encoder, too."""
    encoder = {key.replace(KOHYA.format(0), ENCODER): tensor
               for key, tensor in lora(8, blocks=1).items()}  # fmt: skip
    found = {INK: lora(7), ENCODED: lora(9) | encoder}
    for name, tensors in found.items():
        (folders / "loras" / name).parent.mkdir(exist_ok=True)
        save_file(tensors, folders / "loras" / name)
    return found


def check_sum(blended: Any, *terms: tuple[dict[str, torch.Tensor], float | list[float]]) -> None:
    """The blend is this weighted sum, with a weight for all or for each of three blocks."""
    for block in range(3):
        exact = torch.zeros(64, 16, dtype=torch.float64)
        for tensors, weight in terms:
            factor = weight[block] if isinstance(weight, list) else weight
            exact += factor * dense(tensors, block)
        there = any(KOHYA.format(block) in key for key in blended)
        found = dense(blended, block) if there else torch.zeros_like(exact)  # dropped as zero
        assert torch.allclose(found, exact, atol=1e-4), block


def names(blended: Any) -> list[str]:
    """What the blend says that it was made of."""
    recipe = json.loads(blended.metadata["lora_alloy"])
    return [entry["name"].removeprefix("the LoRA at ") for entry in recipe["inputs"]]


FOUR = [lora(seed) for seed in range(1, 5)]
WIRES = {
    "lora_1": FOUR[0],
    "lora_2": FOUR[1],
    "more_loras": {"lora_3": FOUR[2], "lora_4": None, "lora_7": FOUR[3]},
    "weight_1": 0.8,
    "weight_2": -0.5,
    "target_rank": EXACT,
}
ALL = ["lora_1", "lora_2", "lora_3", "lora_7"]


@pytest.mark.parametrize(
    ("text", "weights", "order"),
    [
        ("", [0.8, -0.5, 1.0, 1.0], ALL),
        ("0.6", [0.8, -0.5, 0.6, 1.0], ["lora_1", "lora_2", "lora_7", "lora_3"]),
        ("lora_3: 0.6\nlora_7: -0.3", [0.8, -0.5, 0.6, -0.3], ALL),
        ("lora_1: 2", [1.6, -0.5, 1.0, 1.0], ["lora_2", "lora_3", "lora_7", "lora_1"]),
        ("lora_2: 1 off\n\nlora_7: 1e-1", [0.8, 0.0, 1.0, 0.1], ["lora_1", "lora_3", "lora_7"]),
        (" \nlora_4 : 3\nlora_3: 1", [0.8, -0.5, 1.0, 1.0], ["lora_1", "lora_2", "lora_7",
                                                            "lora_3"]),
    ],
)  # fmt: skip
def test_rows_weigh_order_and_leave_out(
    nodes: dict[str, Any], text: str, weights: list[float], order: list[str]
) -> None:
    blended, report = run(nodes["LoraAlloyBlend"], rows=text, **WIRES)
    check_sum(blended, *zip(FOUR, weights, strict=True))
    assert names(blended) == order
    assert ("* row lora_4: nothing is connected" in report) == ("lora_4" in text)


def test_a_row_has_block_weights_of_its_own(nodes: dict[str, Any]) -> None:
    text = "lora_1: 1\n double_blocks.0-1: 0.5\n\tdouble_blocks.1: 0\nlora_2: 1\n  *: 2"
    blended, _ = run(
        nodes["LoraAlloyBlend"], rows=text, block_weights="double_blocks.2: 3, 4",
        **WIRES | {"more_loras": {}},
    )  # fmt: skip
    check_sum(blended, (FOUR[0], [0.4, 0.0, 2.4]), (FOUR[1], -1.0))


def test_common_block_weights_keep_their_columns(nodes: dict[str, Any]) -> None:
    """What is switched off still has its column: nothing is written anew to try without it."""
    text = "lora_1: 1 off\nlora_2: 1\nlora_3: 1"
    wires = WIRES | {"more_loras": {"lora_3": FOUR[2]}}
    weights = "double_blocks.0: 9, 2, 3\ndouble_blocks.1: , , 0\ndouble_blocks.2: 5, ,"
    blended, _ = run(nodes["LoraAlloyBlend"], rows=text, block_weights=weights, **wires)
    check_sum(blended, (FOUR[1], [-1.0, -0.5, -0.5]), (FOUR[2], [3.0, 0.0, 1.0]))


def test_a_file_needs_no_wire(nodes: dict[str, Any], files: dict[str, Any], folders: Path) -> None:
    node = nodes["LoraAlloyBlend"]
    text = f"{INK}: 0.5\n double_blocks.0: 0\n{ENCODED}: 1 off"
    blended, _ = run(node, rows=text, target_rank=EXACT)
    check_sum(blended, (files[INK], [0.0, 0.5, 0.5]))
    assert names(blended) == [INK]

    before = node.fingerprint_inputs(rows=text, layers="", lora_1=None)
    (folders / "loras" / ENCODED).unlink()
    assert node.fingerprint_inputs(rows=text) == before
    save_file(lora(7, rank=2), folders / "loras" / INK)
    assert node.fingerprint_inputs(rows=text) != before


@pytest.mark.parametrize(
    ("stack", "weights"),
    [
        ([(INK, 0.5, 0.25)], [0.5]),  # no text encoder in it: nothing for its strength to do
        ([("None", 1.0, 1.0), (ENCODED, 0.5, 0.25), (INK, 2)], [0.5, 0.25, 2.0]),
        ([[ENCODED, 0.0, 0.75, "words"]], [0.0, 0.75]),
    ],
)
def test_a_stack_means_what_its_own_pack_makes_of_it(
    nodes: dict[str, Any], files: dict[str, Any], stack: list[Any], weights: list[float]
) -> None:
    """As applying each file at its two strengths: the first is the network's."""
    given = [tuple(entry) for entry in stack]
    blended, report = run(
        nodes["LoraAlloyBlend"], lora_1=FOUR[0], lora_stack=stack, target_rank=EXACT
    )
    assert [tuple(entry) for entry in stack] == given and "no such layers" not in report
    terms = {str(name): float(model) for name, model, *_ in stack if name != "None"}
    check_sum(blended, (FOUR[0], 1.0), *((files[name], w) for name, w in terms.items()))
    if ENCODED in terms:
        up, down = (blended[f"{ENCODER}.lora_{side}.weight"].double() for side in ("up", "down"))
        scale = float(blended[f"{ENCODER}.alpha"]) / len(down)
        exact = {key.replace(ENCODER, KOHYA.format(0)): tensor
                 for key, tensor in files[ENCODED].items() if ENCODER in key}  # fmt: skip
        assert torch.allclose(scale * up @ down, weights[1] * dense(exact, 0), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lora_1", "rows line 'lora_1' cannot be read; give one 'NAME: NUMBER' a line"),
        ("lora_1: x", "rows line 'lora_1: x' cannot be read"),
        ("lora_1: nan", "rows line 'lora_1: nan' cannot be read"),
        ("lora_1: 1 of", "rows line 'lora_1: 1 of' cannot be read"),
        ("0.5, y", "rows line '0.5, y' cannot be read"),
        ("lora_1: 1\nlora_1: 2", "rows have two lines for lora_1"),
        ("lora_3: 1\n0.5", "rows have two lines for lora_3"),
        ("  te: 0", "rows line 'te: 0' belongs to no row"),
        ("lora_51: 1", "rows: 'lora_51' is neither a socket nor a file"),
        ("../x.safetensors: 1", "rows: '../x.safetensors' is neither a socket nor a file"),
    ],
)
def test_what_is_no_row_is_refused_before_the_run(
    nodes: dict[str, Any], folders: Path, text: str, sentence: str
) -> None:
    save_file(lora(), folders / "x.safetensors")
    assert str(nodes["LoraAlloyBlend"].validate_inputs(text)).startswith(sentence)


def test_without_any_lora_there_is_nothing_to_blend(nodes: dict[str, Any]) -> None:
    for given in ({}, {"lora_1": lora(), "rows": "lora_1: 1 off"}):
        with pytest.raises(ValueError, match="there is no LoRA that is on; connect one, or name"):
            run(nodes["LoraAlloyBlend"], **given)


def test_a_name_may_hold_a_colon(rows: Any) -> None:
    (row,) = rows.parse_rows("a: b.safetensors:0.5 off")
    assert (row.name, row.weight, row.on, row.socket) == ("a: b.safetensors", 0.5, False, 0)


def test_a_workflow_of_two_loras_from_before_the_rows_means_the_same(nodes: dict[str, Any]) -> None:
    """It has a number for further LoRAs where the rows are now, and ends before the limits."""
    names = [name for name, (kind, _, _) in inputs_of(nodes["LoraAlloyBlend"]).items()
             if kind not in (
                 "LORA_MODEL", "LORA_STACK", "COMFY_AUTOGROW_V3", "MODEL", "CLIP",
             )]  # fmt: skip
    assert names[:6] == [
        "weight_1", "weight_2", "rows", "target_rank", "layers", "block_weights",
    ] and names[-2:] == ["min_rank", "max_rank"]  # fmt: skip
    blended, _ = run(nodes["LoraAlloyBlend"], rows="1", **WIRES | {"more_loras": {}})
    check_sum(blended, (FOUR[0], 0.8), (FOUR[1], -0.5))
    blended, _ = run(nodes["LoraAlloyBlend"], rows="0.6, -0.3", **WIRES | {
        "more_loras": {"lora_3": FOUR[2], "lora_4": FOUR[3]}})  # fmt: skip
    check_sum(blended, *zip(FOUR, [0.8, -0.5, 0.6, -0.3], strict=True))
