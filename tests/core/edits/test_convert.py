"""Convert: the same update under other names (fused and split ones: see test_layout)."""

import re

import pytest
import torch

from core import UNKNOWN, Blend, Lora, LoraError, Output, StateDict, blend, convert, select
from tests import audit, audit_trainers
from tests.helpers import (
    KOHYA,
    PAIRS,
    PEFT,
    assert_close,
    dense,
    flux_file,
    lora,
    lora_file,
    randn,
    same_bits,
)

NAME = "blocks.0.self_attn.q"
SPELLED = {
    "kohya": "lora_unet_blocks_0_self_attn_q",
    "generic": "diffusion_model." + NAME,
}


def renamed(update, raw):
    (value,) = update.values()
    return {raw: value}


@pytest.mark.parametrize("alpha", [None, 2.0])
@pytest.mark.parametrize("wanted", SPELLED)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_every_suffix_pair_becomes_the_standard_one(pair, wanted, alpha):
    tensors = lora("diffusion_model." + NAME, pair=pair, alpha=alpha)
    tensors |= lora("diffusion_model.blocks.0.self_attn.k", pair=pair)
    result = convert(tensors, Output(spelling=wanted)).lora
    up, down = KOHYA if wanted == "kohya" else PEFT
    raw = SPELLED[wanted]
    assert {raw + up, raw + down} <= set(result)
    assert (raw + ".alpha" in result) == (wanted == "kohya")
    found = {raw: dense(result)[raw]}
    assert_close(found, renamed(dense(lora("x", pair=pair, alpha=alpha, seed=0)), raw))


def test_a_middle_kernel_goes_where_the_spelling_has_none():
    raw = "lora_unet_blocks_0_self_attn_q"
    tensors = lora(raw, (8, 6, 3, 3), 3, KOHYA, 2.0, mid=True)
    result = convert(tensors, Output(spelling="generic")).lora
    assert_close(dense(result), renamed(dense(tensors), "diffusion_model." + NAME))


def test_a_name_that_no_rule_knows_stays():
    tensors = lora("my_network.block.7.thing", pair=PAIRS[5], alpha=2.0) | flux_file("kohya")
    result = convert(tensors, Output(spelling="diffusers"))
    assert dense(result.lora)["my_network.block.7.thing"] is not None
    assert any(key.startswith("my_network.block.7.thing") for key in result.lora)
    before, after = dense(tensors), dense(result.lora)
    name = "my_network.block.7.thing"
    assert_close({name: after[name]}, {name: before[name]}, 1e-6)


def test_differences_norms_and_biases_are_renamed():
    raw = "diffusion_model.blocks.0."
    shapes = {"ffn.0.diff": (9, 4), "ffn.0.diff_b": (9,), "norm3.diff": (4,), "norm3.diff_b": (4,)}
    tensors = {raw + key: randn(shape, key) for key, shape in shapes.items()}
    result = convert(tensors | lora(raw + "self_attn.q"), Output(spelling="kohya")).lora
    for key, tensor in tensors.items():
        flat = key.removeprefix("diffusion_model.").rpartition(".")
        assert torch.equal(result["lora_unet_" + flat[0].replace(".", "_") + "." + flat[2]], tensor)


@pytest.mark.parametrize("dtype, stored", [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_the_dtype_can_be_changed_alone(dtype, stored):
    tensors = lora_file("ab", KOHYA, alpha=torch.tensor(2.0)) | {"table": torch.arange(3)}
    result = convert(tensors, Output(dtype=dtype)).lora
    cast = {k: t.to(stored) if "lora" in k else t for k, t in tensors.items()}
    assert same_bits(result, cast)


def test_kinds_that_cannot_be_cut_are_refused_where_they_would_have_to_be():
    raw = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = flux_file("kohya") | {raw + ".dora_scale": torch.ones(24, 1)}
    with pytest.raises(LoraError, match="DoRA"):
        convert(tensors, Output(spelling="diffusers"))
    kept = convert(tensors, Output(spelling="generic")).lora
    assert torch.equal(
        kept["diffusion_model.double_blocks.0.img_attn.qkv.dora_scale"], torch.ones(24, 1)
    )


# -- what a spelling has no names for -------------------------------------------------------------

LAYER = "transformer.transformer_blocks.{}.attn.to_gate"


def krea(*more):
    """A LoRA of Krea 2, with modules of other names."""
    known = lora_file([LAYER.format(block) for block in range(28)], shape=(6144, 6144), rank=1)
    return known | lora_file(more)


@pytest.mark.parametrize("wanted", ["kohya", "generic", "diffusers"])
@pytest.mark.parametrize(
    "names",
    [
        ("transformer.foo.0.bar", "transformer.foo.1.bar"),
        ("transformer.transformer_blocks.0.attn.to_qkv",),
        ("lora_unet_double_blocks_0_img_attn_proj_",),
    ],
)
def test_what_nothing_is_renamed_of_is_refused(names, wanted):
    tensors = lora_file(names)
    if wanted == "kohya" and names[0].startswith("lora_unet_"):
        return  # They are kohya's already.
    with pytest.raises(LoraError, match=f"nothing was renamed.*{wanted}.*{re.escape(names[0])}"):
        convert(tensors, Output(spelling=wanted))
    assert convert(tensors, Output()).lora.keys() == tensors.keys()


def test_what_was_not_renamed_is_counted_and_named():
    name = "transformer.transformer_blocks.0.attn.to_qkv"
    report = convert(krea(name), Output(spelling="kohya")).report
    wanted = f"1 of 29 modules have no name in the kohya spelling and were not renamed: {name}"
    assert wanted in report.notes
    # What has its name already has not been left out.
    assert not [
        note
        for note in convert(krea(), Output(spelling="diffusers")).report.notes
        if "renamed" in note
    ]


@pytest.mark.slow
def test_the_prefix_of_hunyuan_video_is_known():
    names = [f"double_blocks_{block}_img_attn_proj" for block in range(20)]
    tensors = lora_file([f"Hunyuan_video_I2V_lora_{name}" for name in names], shape=(3072, 3072))
    written = convert(tensors, Output(spelling="kohya")).lora
    assert dense(written).keys() == {f"lora_unet_{name}" for name in names}
    assert all(m.unread for m in Lora(tensors).modules.values())
    assert not any(m.unread for m in Lora(written).modules.values())


@pytest.mark.parametrize("model", ["Lens", "Boogu", "HiDream-O1", "PixArt Sigma", "SVD"])
def test_diffusers_spelling_is_refused_where_diffusers_takes_no_loras(model):
    names = list(audit.files(model)["kohya"].items())[:60]
    tensors = {}
    for raw, (_, (rows, columns, *_)) in names:
        tensors[f"{raw}.lora_up.weight"] = torch.zeros(rows, 1)
        tensors[f"{raw}.lora_down.weight"] = torch.zeros(1, columns)
    family = audit.family_of(model)
    assert not family.diffusers_models
    with pytest.raises(LoraError, match=f"diffusers has no model of {family.name} that takes LoRA"):
        convert(Lora(tensors, prefer=family), Output(spelling="diffusers"))


# -- diffusers takes LoRA alone -------------------------------------------------------------------

PROJ = "lora_unet_double_blocks_0_img_attn_proj"
THERE = "transformer.transformer_blocks.0.attn.to_out.0"


def test_biases_get_the_name_that_their_reader_knows():
    tensors = lora(PROJ, (3072, 3072), pair=KOHYA) | {f"{PROJ}.diff_b": randn((3072,))}
    written = convert(tensors, Output(spelling="diffusers")).lora
    assert same_bits({"b": written[f"{THERE}.lora_B.bias"]}, {"b": tensors[f"{PROJ}.diff_b"]})
    for spelling, raw in (
        ("kohya", PROJ),
        ("generic", "diffusion_model.double_blocks.0.img_attn.proj"),
    ):
        back = convert(written, Output(spelling=spelling)).lora
        assert same_bits({"b": back[f"{raw}.diff_b"]}, {"b": tensors[f"{PROJ}.diff_b"]})
    # It is part of its module: scaled and selected with it, under its own name.
    half = blend(written, None, Blend((0.5,))).lora
    assert torch.equal(half[f"{THERE}.lora_B.bias"], tensors[f"{PROJ}.diff_b"] / 2)
    other = lora("transformer.transformer_blocks.1.attn.to_out.0", (3072, 3072))
    kept = select(written | other, "double_blocks.0")[0].lora
    assert f"{THERE}.lora_B.bias" in kept


@pytest.mark.slow
def test_other_kinds_become_lora_or_are_refused_by_name():
    thin = {f"{PROJ}.lokr_w1_a": randn((48, 2)), f"{PROJ}.lokr_w1_b": randn((2, 48), 1),
            f"{PROJ}.lokr_w2_a": randn((64, 2), 2), f"{PROJ}.lokr_w2_b": randn((2, 64), 3),
            f"{PROJ}.alpha": torch.tensor(1.0)}  # fmt: skip
    written = convert(thin, Output(spelling="diffusers")).lora
    assert written.keys() == {f"{THERE}.lora_A.weight", f"{THERE}.lora_B.weight"}
    w1, w2 = (thin[f"{PROJ}.lokr_{w}_a"] @ thin[f"{PROJ}.lokr_{w}_b"] for w in ("w1", "w2"))
    assert_close(dense(written), {THERE: torch.kron(w1, w2).double() / 2})
    for tensors, name in (
        ({f"{PROJ}.diff": randn((3072, 3072))}, "difference"),
        ({f"{PROJ}.lokr_w1": randn((64, 64)), f"{PROJ}.lokr_w2": randn((48, 48))}, "LoKr"),
    ):
        with pytest.raises(LoraError, match=f"is a {name} of full rank, and diffusers takes LoRA"):
            convert(tensors, Output(spelling="diffusers"))


def test_what_is_no_lora_is_not_carried_to_diffusers():
    tensors = lora(PROJ, (3072, 3072), pair=KOHYA) | {"lora_unet_x.alpha": torch.tensor(1.0)}
    edited = convert(tensors, Output(spelling="diffusers"))
    assert "lora_unet_x.alpha" not in edited.lora
    assert list(edited.report.dropped.values()) == [
        "diffusers takes LoRA only; an alpha without factors"
    ]


def test_own_names_of_an_unknown_model_have_a_kohya_form():
    """ComfyUI makes it for every weight of every model; back there is no way."""
    dotted = lora_file([f"diffusion_model.foo.{block}.bar_baz" for block in range(3)])
    written = convert(dotted, Output(spelling="kohya")).lora
    assert dense(written).keys() == {f"lora_unet_foo_{block}_bar_baz" for block in range(3)}
    assert convert(dotted, Output(spelling="generic")).lora.keys() == dotted.keys()
    with pytest.raises(LoraError, match="nothing was renamed"):
        convert(written, Output(spelling="generic"))


@pytest.mark.slow
def test_another_model_that_would_need_other_names_is_named():
    """Diffusers calls the layers of both Cosmos alike, and 14B of both are of one size."""
    layers = {r: e for r, e in audit.files("Cosmos 1 14B")["diffusers"].items() if ".0." in r}
    lora = audit_trainers.file_of(layers, UNKNOWN)
    (note,) = [n for n in convert(lora, Output(spelling="kohya")).report.notes if "could be" in n]
    assert note.startswith("the file could be for Cosmos 1 instead of Cosmos Predict2 / Anima, and")
    tensors = {key: lora.tensors[key] for key in lora.tensors.info}
    told = StateDict(tensors, {"modelspec.architecture": "cosmos-1"})
    notes = convert(told, Output(spelling="kohya")).report.notes
    assert not any("could be" in note for note in notes)
    # Where all of them have the same names nothing is said.
    flux = {
        raw: entry for raw, entry in audit.files("Flux")["kohya"].items() if "_blocks_1_img" in raw
    }
    partial = audit_trainers.file_of(flux, UNKNOWN)
    assert partial.recognition.others
    notes = convert(partial, Output(spelling="generic")).report.notes
    assert not any("could be" in note for note in notes)
