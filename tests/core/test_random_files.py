"""Random files of any mix of kinds, names, ranks and dtypes work, or an error says why not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import Blend, Lora, LoraError, Output, RankRule, StateDict, blend, convert, resize, select
from tests import helpers
from tests.core.kinds import loha, lokr
from tests.helpers import lora, randn

DTYPES = st.sampled_from(
    [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn]
)
MODULES = st.sampled_from(
    [
        "lora_unet_double_blocks_0_img_attn_qkv",
        "diffusion_model.double_blocks.0.img_attn.qkv",
        "transformer.transformer_blocks.0.attn.to_q",
        "transformer.transformer_blocks.0.attn.to_k",
        "lycoris_transformer_blocks_0_attn_to_v",
        "base_model.model.transformer_blocks.0.attn.to_q",
        "transformer.norm_out.linear",
        "lora_unet_final_layer_adaLN_modulation_1",
        "single_blocks.0.linear1_qkv",
        "transformer.single_transformer_blocks.0.proj_mlp",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1",
        "text_encoder.text_model.encoder.layers.0.mlp.fc1",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1",
        "some.other.thing.7",
        "lora_unet_some_other_thing_7",
    ]
)
ROWS = {"qkv": 12, "linear1_qkv": 12, "mlp": 16, "linear": 8, "1": 8}


def tucker(raw, form, products, middles, rows, rank, kernel, seed):
    """Products with a middle kernel: a [rank, rows], b [rank, 4], t [rank, rank, *kernel]."""
    shapes = {f"{p}_a": (rank, rows) for p in products} | {f"{p}_b": (rank, 4) for p in products}
    shapes |= {middle: (rank, rank, *kernel) for middle in middles}
    return {f"{raw}.{form.format(k)}": randn(shape, seed, k) for k, shape in shapes.items()}


@st.composite
def module(draw):
    """A module of any kind, name, rank and dtype; shapes fit the miniature model, mostly."""
    raw = draw(MODULES)
    rows = draw(st.sampled_from([ROWS.get(raw.replace("_", ".").split(".")[-1], 4)] * 9 + [5]))
    rank, dtype, seed = draw(st.integers(1, 5)), draw(DTYPES), draw(st.integers(0, 99))
    # Those that need the base weight are rarer: they end most edits.
    kind = draw(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14] * 4 + [7, 8, 9, 15, 16]))
    pair = draw(st.sampled_from(helpers.PAIRS))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (2, 3, 3)]))
    tensors = {
        0: lambda: lora(raw, (rows, 4), rank, pair, seed=seed),
        1: lambda: lora(raw, (rows, 4), rank, helpers.KOHYA, draw(st.floats(-2, 2)), seed=seed),
        2: lambda: loha(raw, rows, 4, rank, seed),
        3: lambda: lokr(raw, (rows, 2), (1, 2), seed),
        4: lambda: {f"{raw}.diff": randn((rows, 4), seed)},
        5: lambda: {f"{raw}.diff_b": randn((rows,), seed)},
        6: lambda: {f"{raw}.w_norm": randn((rows,), seed), f"{raw}.b_norm": randn((rows,), seed)},
        7: lambda: lora(raw, (rows, 4), rank) | {f"{raw}.dora_scale": torch.ones(rows, 1)},
        8: lambda: {f"{raw}.oft_blocks": randn((2, 2, 2), seed)},
        9: lambda: {f"{raw}.set_weight": randn((rows, 4), seed), f"{raw}.odd": randn((2,), seed)},
        10: lambda: lora(raw, (rows, 4, *kernel), rank, pair, seed=seed, flat=draw(st.booleans())),
        11: lambda: lora(raw, (rows, 4, *kernel), rank, pair, 1.0, mid=True, seed=seed),
        12: lambda: tucker(raw, "hada_{}", ("w1", "w2"), ("t1", "t2"), rows, rank, kernel, seed),
        13: lambda: tucker(raw, "lokr_{}", ("w2",), ("t2",), rows, rank, kernel, seed)
        | {f"{raw}.lokr_w1": randn((1, 1), seed)},
        14: lambda: {f"{raw}.b_norm": randn((rows,), seed), f"{raw}.alpha": torch.ones(1)},
        15: lambda: {
            f"{raw}.{side}.weight": randn(shape, seed, side)
            for side, shape in {"a1": (4, 2), "a2": (2, 4), "b1": (rows, 2), "b2": (2, 4)}.items()
        },
        16: lambda: lora(raw, (rows, 4), rank, seed=seed)
        | {f"{raw}.reshape_weight": torch.tensor([rows, 8]), f"{raw}.lora_mid.weight": randn((2,))},
    }[kind]()  # fmt: skip
    return {key: tensor.to(dtype) for key, tensor in tensors.items()}


@st.composite
def file(draw):
    result = {}
    for tensors in draw(st.lists(module(), min_size=1, max_size=6)):
        result |= tensors
    if draw(st.integers(0, 20)) == 0:
        result.pop(draw(st.sampled_from(sorted(result))))
    return StateDict(result, name="random")


def accounted(source: dict, result, report) -> None:
    """Every tensor of the source is in the result, part of a module in the report, or explained."""
    lora = Lora(StateDict(source, name="random"))
    modules = [key for m in lora.modules.values() for key in m.adapter.keys.values()]
    assert sorted([*modules, *lora.other, *lora.shadowed]) == sorted(source)
    rows = {row.module for row in report.modules}
    for m in lora.modules.values():
        # Fused with others, or split, it is in the report under the weight's name.
        weight = m.name.weight + (".bias" if m.parameter == "bias" else "")
        assert any(row == weight or row.startswith(m.name.weight) for row in rows), m.canonical
    for key in lora.shadowed:
        assert f"random: {key}" in report.dropped
    for key in lora.other:
        if f"random: {key}" in report.dropped:  # as what the reader of that spelling refuses
            assert "takes LoRA only" in report.dropped[f"random: {key}"]
            continue
        assert key in report.carried
        assert helpers.same_bits({key: result[key]}, {key: source[key]})
    for row in report.modules:
        assert row.action in ("copied", "blended", "scaled", "converted", "truncated", "dropped")


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    file(), file(), st.sampled_from(["full", 3]), st.sampled_from(["match", "kohya", "diffusers"])
)
def test_random_files_of_any_mix_work_or_say_what_is_wrong(first, second, rank, spelling):
    weights, where = Blend(weights=(1.0, -0.5), rank=rank), Output(spelling=spelling)
    for edit in (
        lambda: select(first, ""),
        lambda: convert(first, Output(spelling=spelling)),
        lambda: resize(first, RankRule("rank", 3 if rank == "full" else rank)),
        lambda: blend(first, None, Blend(weights=(0.5,), rank=rank)),
        lambda: blend(first, second, weights, where),
    ):  # fmt: skip
        try:
            edited = edit()
        except LoraError as problem:
            assert len(str(problem)) > 20 and "\n" not in str(problem)
            continue
        edited = edited[0] if isinstance(edited, tuple) else edited
        accounted(first, edited.lora, edited.report)
        written = Lora(edited.lora)
        assert not written.shadowed, "what ComfyUI does not read is not written"
