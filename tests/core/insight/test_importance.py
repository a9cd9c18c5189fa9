"""Importance of blocks: the notebook's example, and what the notebook mixed up."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from core import (
    LoraError,
    analyze_lora,
    block_importance_from_energy,
    block_importance_from_softmax,
    top_blocks_by_threshold,
)
from core.insight.importance import explain, importance_table
from tests.helpers import KOHYA, lora_file, randn

QWEN = r"transformer_blocks\.(\d+)"
LAYERS = [
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
    "img_mlp.net.0.proj",
    "img_mlp.net.2",
    "txt_mlp.net.0.proj",
    "txt_mlp.net.2",
    "img_mod.1",
    "txt_mod.1",
]


def with_norms(norms: dict[str, float], prefix="", pair=(".lora_B.weight", ".lora_A.weight")):
    """A LoRA whose layers have these spectral norms, exactly."""
    state = {}
    for name, norm in norms.items():
        up, down = torch.zeros(6, 1), torch.zeros(1, 5)
        up[2], down[0, 3] = norm, 1.0
        state |= {prefix + name + pair[0]: up, prefix + name + pair[1]: down}
    return state


def published() -> dict[str, torch.Tensor]:
    """A Qwen-Image LoRA with the norms that the notebook printed.

    Of the softmax, relative to block 9: e^(22.89 - 25.80) for block 33, then 37 and 30; the other
    56 blocks share what is left when block 9 has 0.9325.
    """
    norms = {f"transformer_blocks.{b}.{layer}": 4.0 for b in range(60) for layer in LAYERS}
    top = {(9, "txt_mod.1"): 25.80, (33, "img_mod.1"): 22.89, (37, "img_mod.1"): 20.57}
    top |= {(30, "txt_mlp.net.2"): 20.21}
    norms |= {f"transformer_blocks.{b}.{layer}": norm for (b, layer), norm in top.items()}
    weak = 1 / 0.9325 - sum(math.exp(norm - 25.80) for norm in top.values())
    others = [b for b in range(60) if b not in (9, 33, 37, 30)]
    for b in others:
        norms[f"transformer_blocks.{b}.attn.to_out.0"] = 25.80 + math.log(weak / len(others))
    return with_norms(norms)


@pytest.fixture(scope="module")
def qwen() -> pd.DataFrame:
    return analyze_lora(published(), statistics="spectral")


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [None, QWEN])
def test_the_notebooks_published_example(qwen, pattern):
    strongest = qwen.sort_values("dW.svd.spectral_norm", ascending=False).head(2)
    assert list(strongest["layer"]) == [
        "transformer_blocks.9.txt_mod.1",
        "transformer_blocks.33.img_mod.1",
    ]
    assert list(strongest["dW.svd.spectral_norm"]) == pytest.approx([25.80, 22.89])
    blocks, layers = block_importance_from_softmax(qwen, pattern=pattern)
    assert len(blocks) == 60 and len(layers) == 840
    assert blocks["block"][0] == 9
    assert blocks["block_importance"][0] == pytest.approx(0.9325, abs=2e-5)
    ninety = top_blocks_by_threshold(qwen, 0.90, pattern=pattern)
    assert list(ninety["block"]) == [9]
    most = top_blocks_by_threshold(qwen, 0.99, pattern=pattern)
    assert list(most["block"]) == [9, 33, 37, 30]
    assert most["cumulative"].is_monotonic_increasing and most["cumulative"].iloc[-1] >= 0.99


@pytest.mark.slow
def test_the_tables_have_the_notebooks_columns(qwen):
    blocks, layers = block_importance_from_softmax(qwen, pattern=QWEN)
    assert list(blocks) == ["block", "block_importance", "layers", "max_norm", "mean_norm"]
    # The column keeps its name and the table its order.
    assert list(layers) == ["layer", "dW.svd.spectral_norm", "block", "softmax_norm"]
    assert list(layers["layer"]) == list(qwen["layer"])
    assert blocks["block_importance"].sum() == pytest.approx(1)
    assert layers["softmax_norm"].sum() == pytest.approx(1)
    first = blocks.iloc[0]
    assert (first["layers"], first["max_norm"]) == (14, pytest.approx(25.80))
    assert first["mean_norm"] == pytest.approx((25.80 + 13 * 4) / 14)
    assert np.allclose(qwen["dW.softmax_norm"].sort_values(), layers["softmax_norm"].sort_values())


@pytest.mark.slow
def test_the_layers_of_the_top_blocks(qwen):
    blocks, layers = top_blocks_by_threshold(qwen, 0.99, return_layers=True)
    assert len(layers) == 4 * 14
    assert set(layers["block"]) == set(blocks["block"])
    wanted = [x for x in qwen["layer"] if x.split(".")[1] in ("9", "33", "37", "30")]
    assert list(layers["layer"]) == wanted


def test_a_table_of_layers_and_norms_is_enough():
    norms = pd.DataFrame(
        {
            "name": ["double_blocks.0.img_attn.proj", "single_blocks.0.linear2", "img_in"],
            "s": [1.0, 2.0, 9.0],
        }
    )
    blocks, layers = block_importance_from_softmax(norms, "name", "s")
    assert list(blocks["block"]) == ["single_blocks.0", "double_blocks.0"]
    assert blocks["block_importance"][0] == pytest.approx(1 / (1 + math.exp(-1)))
    assert list(layers) == ["name", "s", "block", "softmax_norm"]
    assert list(layers["name"]) == list(norms["name"][:2])


def test_blocks_of_one_container_are_called_by_their_numbers():
    names = {f"transformer_blocks.{i}.attn.to_q": 1.0 + i for i in (3, 11)}
    table = analyze_lora(with_norms(names | {"proj_out": 5.0}), statistics="norms")
    blocks, layers = block_importance_from_softmax(table)
    assert list(blocks["block"]) == [11, 3] and list(layers["block"]) == [3, 11]
    assert list(top_blocks_by_threshold(table, 0.5)["block"]) == [11]
    # Everything else goes by names, with which a selector can do something.
    assert list(importance_table(table)["block"]) == [
        "double_blocks.11",
        "double_blocks.3",
    ]


def test_double_and_single_blocks_never_mix():
    norms = {
        "transformer_blocks.3.attn.to_q": 2.0,
        "single_transformer_blocks.3.proj_out": 2.0,
        "transformer_blocks.4.attn.to_q": 1.0,
    }
    table = analyze_lora(with_norms(norms, "transformer."), statistics="spectral")
    blocks, _ = block_importance_from_softmax(table)
    assert set(blocks["block"]) == {"double_blocks.3", "single_blocks.3", "double_blocks.4"}
    # The notebook's pattern finds both: its result, for those who ask for it.
    mixed, _ = block_importance_from_softmax(table, pattern=QWEN)
    assert list(mixed["block"]) == [3, 4]
    assert list(mixed["layers"]) == [2, 1]


def test_sdxl_has_its_outer_blocks_and_text_encoders_their_own():
    names = [
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q",
        "lora_unet_input_blocks_5_1_transformer_blocks_0_attn1_to_q",
        "lora_te1_text_model_encoder_layers_4_mlp_fc1",
    ]
    table = analyze_lora(lora_file(names, KOHYA), statistics="spectral")
    assert list(table["block"]) == [
        "input_blocks.4",
        "input_blocks.4",
        "input_blocks.5",
        "clip_l.encoder.layers.4",
    ]
    assert list(table["component"])[2:] == ["diffusion model", "text encoder"]


@pytest.mark.slow
def test_temperature_flattens_and_sharpens(qwen):
    hot, _ = block_importance_from_softmax(qwen, temperature=100.0)
    cold, _ = block_importance_from_softmax(qwen, temperature=0.1)
    assert hot["block_importance"][0] < 0.05
    assert cold["block_importance"][0] > 0.999999
    with pytest.raises(LoraError, match="temperature 0 must be above 0"):
        block_importance_from_softmax(qwen, temperature=0.0)


def test_huge_norms_do_not_overflow():
    table = analyze_lora(with_norms({"blocks.0.q": 1e30, "blocks.1.q": 1e29}))
    blocks, _ = block_importance_from_softmax(table)
    assert list(blocks["block_importance"]) == [1, 0]


def test_energy_is_the_share_of_squares_and_does_not_depend_on_the_scale():
    norms = {"blocks.0.q": 3.0, "blocks.1.q": 4.0, "blocks.1.k": 12.0, "head": 100.0}
    for scale in (1.0, 1e-3, 1e3):
        scaled = {name: scale * norm for name, norm in norms.items()}
        blocks, layers = block_importance_from_energy(analyze_lora(with_norms(scaled)))
        assert list(blocks["block_importance"]) == pytest.approx([160 / 169, 9 / 169])
        assert list(layers["energy_share"]) == pytest.approx([9 / 169, 16 / 169, 144 / 169])


def test_zero_loras_have_equal_shares():
    table = analyze_lora(with_norms({"blocks.0.q": 0.0, "blocks.1.q": 0.0}))
    blocks, _ = block_importance_from_energy(table)
    assert list(blocks["block_importance"]) == [0.5, 0.5]


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1, float("nan")])
def test_a_threshold_is_a_share(qwen, threshold):
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        top_blocks_by_threshold(qwen, threshold)


def test_the_whole_is_all_blocks_and_the_set_is_the_smallest():
    table = analyze_lora(with_norms({f"blocks.{i}.q": 1.0 for i in range(10)}))
    assert len(top_blocks_by_threshold(table, 1.0)) == 10
    assert len(top_blocks_by_threshold(table, 0.9)) == 9
    assert len(top_blocks_by_threshold(table, 0.11)) == 2
    far = analyze_lora(with_norms({"blocks.0.q": 900.0, "blocks.1.q": 1.0}))
    assert len(top_blocks_by_threshold(far, 1.0)) == 2


def test_nothing_to_compare_is_a_value_error():
    state = {"blocks.0.q.oft_blocks": randn((2, 4, 4)), "blocks.1.q.oft_blocks": randn((2, 4, 4))}
    table = analyze_lora(state | with_norms({"head": 2.0}))
    with pytest.raises(ValueError, match="no layer of a block has a finite"):
        block_importance_from_softmax(table)
    with pytest.raises(ValueError, match="no column 'size'"):
        block_importance_from_softmax(table, norm_col="size")
    with pytest.raises(LoraError, match="importance 'size' is unknown; choose one of softmax"):
        importance_table(table, "size")


@pytest.mark.slow
def test_the_text_says_what_the_numbers_mean():
    norms = {f"double_blocks.{i}.img_attn.proj": 10.0 if i < 3 else 0.5 for i in range(19)}
    norms |= {f"single_blocks.{i}.linear2": 10.0 if i < 4 else 0.5 for i in range(38)}
    table = analyze_lora(with_norms(norms), statistics="spectral")
    lines = explain(importance_table(table, "energy"), "energy", 0.9)
    assert lines[0].startswith("90 % of the energy sits in 7 of 57 blocks (98.25%): double_blocks")
    assert lines[0].endswith("and 1 more")
    assert lines[1] == "energy by container: double_blocks 42.7%, single_blocks 57.3%"


@pytest.mark.slow
def test_the_text_warns_of_a_softmax_that_has_collapsed(qwen):
    lines = explain(importance_table(qwen), "softmax", 0.9)
    assert lines[0].startswith("90 % of the softmax of the spectral norms sits in 1 of 60 blocks")
    assert "collapsed to one block (93.25%): raise the temperature (about 8." in lines[1]
    # What it advises helps.
    wide = importance_table(qwen, temperature=8.6)
    assert wide["block_importance"][0] < 0.1
    assert not any("collapsed" in line for line in explain(wide, "softmax", 0.9))


@pytest.mark.slow
def test_the_text_warns_of_a_softmax_that_tells_nothing():
    norms = {f"blocks.{i}.q": 0.01 * (i + 1) for i in range(40)}
    table = analyze_lora(with_norms(norms))
    lines = explain(importance_table(table), "softmax", 0.9)
    assert "hardly tells the blocks apart" in lines[1] and "lower the temperature" in lines[1]
    assert len(explain(importance_table(table, "energy"), "energy", 0.9)) == 1


def test_the_text_says_where_no_block_can_go():
    table = analyze_lora(with_norms({f"blocks.{i}.q": 1.0 + i / 100 for i in range(20)}))
    lines = explain(importance_table(table, "energy"), "energy", 0.9)
    assert lines[0].startswith("90 % of the energy sits in 18 of 20 blocks")
    assert lines[1] == "it is spread over the blocks: lower the ranks rather than drop blocks"
