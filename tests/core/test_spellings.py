"""All names of a weight mean that weight: the key maps, blends across spellings, round trips.

The key maps list what ComfyUI accepts; they are the oracle for what a written name means. Shapes
are those of the real models divided by one number: every block is there, every test is small.
"""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import modules
from benchmarks.key_maps import FAMILIES as KEY_MAPS
from benchmarks.key_maps import load
from core import Blend, Compute, LoraError, Output, SettingError, StateDict, blend, convert
from core.naming.catalogue import FAMILIES
from core.naming.spelling import DIFFUSERS, GENERIC, KOHYA, resolve
from tests import helpers
from tests.core.small_models import Small
from tests.helpers import dense, error, lora_file, randn
from tests.marks import one_in

FAMILY = {
    name: next(f for f in FAMILIES if f.name == ours)
    for name, ours in {
        "flux": "Flux", "qwen-image": "Qwen-Image", "sd1.5": "SD1.5", "sdxl": "SDXL",
        "wan2.1-14b": "Wan", "z-image": "Z-Image",
    }.items()
}  # fmt: skip
EXACT = Compute(dtype=torch.float64)


# -- the key maps ---------------------------------------------------------------------------------


def identity(name) -> tuple:
    """What two spellings of one weight slice share."""
    return name.weight, name.first, name.last, name.parts


@pytest.mark.parametrize("key_map", KEY_MAPS)
def test_every_spelling_means_the_slice_of_its_entry_and_nothing_else(key_map):
    family, owners = FAMILY[key_map], {}
    for target in load(key_map):
        meanings = set()
        for raw in target.spellings:
            name = resolve(raw, family, part_shape(target))
            assert name.weight == target.weight, raw
            assert name.swapped == target.reordered, raw
            meanings.add(identity(name))
        if not meanings:
            continue
        (meaning,) = meanings
        place = (target.weight, target.slice)
        assert owners.setdefault(meaning, place) == place
    slices = [(weight, piece) for weight, piece in owners.values()]
    assert len(slices) == len(set(slices))


@pytest.mark.parametrize("key_map", KEY_MAPS)
def test_slices_are_where_the_models_have_them(key_map):
    """Parts in row order from the top: first and last are the slice's place."""
    family = FAMILY[key_map]
    for target in load(key_map):
        if target.slice:
            dimension, start, length = target.slice
            name = resolve(target.spellings[0], family)
            inner = target.shape[1]
            assert dimension == 0 and start == name.first * inner
            rest = target.shape[0] - start
            assert length == (
                rest if name.last == len(name.parts) > 3 else (name.last - name.first) * inner
            )


@pytest.mark.parametrize("encoder, name", [("clip-l", "clip_l"), ("clip-g", "clip_g")])
def test_text_encoder_spellings_mean_one_weight(encoder, name):
    for target in load(encoder):
        meanings = {resolve(raw, FAMILY["sdxl"]).canonical for raw in target.spellings}
        assert meanings == {f"{name}.transformer.{target.weight}"}


def part_shape(target) -> tuple[int, ...]:
    return (target.slice[2], *target.shape[1:]) if target.slice else target.shape


# -- small files in every spelling ----------------------------------------------------------------

small = functools.cache(Small.of)
PAIRS = [
    (key_map, first, second)
    for key_map in KEY_MAPS
    for first in sorted(small(key_map).styles)
    for second in sorted(small(key_map).styles)
]


def show(value) -> str:
    return (
        value
        if isinstance(value, str)
        else f"{value[0] or 'bare'} {'native' if value[1] else 'diffusers'}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("key_map, first, second", one_in(17, PAIRS), ids=show)
def test_a_blend_across_spellings_is_the_blend_within_one(key_map, first, second):
    model = small(key_map)
    one, two = model.file(first, 2, "one"), model.file(second, 3, "two")
    written = blend(one, two, Blend(weights=(0.7, -0.4), rank="full"), compute=EXACT).lora
    exact = model.weighted_sum((one, two), (0.7, -0.4))
    helpers.assert_close(model.meaning(written), exact, 1e-6)
    # In the spelling of the first file, each module once.
    raws, firsts = set(dense(written)), set(dense(one))
    assert firsts <= raws
    known = {model.places[raw][0] for raw in firsts}
    assert all(model.places[raw][0] not in known for raw in raws - firsts)


@pytest.mark.slow
@pytest.mark.parametrize("spelling", [KOHYA, DIFFUSERS, GENERIC])
@pytest.mark.parametrize(
    "key_map, style",
    one_in(5, [(k, s) for k in KEY_MAPS for s in sorted(small(k).styles)]),
    ids=show,
)
def test_converting_there_and_back_keeps_the_update_and_the_ranks(key_map, style, spelling):
    model = small(key_map)
    source = model.file(style, 2)
    there = convert(source, Output(spelling=spelling), EXACT).lora
    # ComfyUI reads no diffusers names for Wan: there is no oracle for them, only for what is back.
    if (key_map, spelling) != ("wan2.1-14b", DIFFUSERS):
        helpers.assert_close(model.meaning(there), model.meaning(source), 1e-6)
    back = convert(there, Output(spelling=next_to(style)), EXACT).lora
    helpers.assert_close(model.meaning(back), model.meaning(source), 1e-6)
    assert ranks(there) | ranks(back) <= {1, 2}


def ranks(tensors) -> set[int]:
    ends = (".lora_A.weight", ".lora_down.weight", ".lora.down.weight")
    return {tensor.shape[0] for key, tensor in tensors.items() if key.endswith(ends)}


def next_to(style: tuple[str, bool]) -> str:
    """The standard spelling closest to a style."""
    if style[1]:
        return KOHYA if style[0].endswith("_") else GENERIC
    return DIFFUSERS


@pytest.mark.slow
@pytest.mark.parametrize("key_map", one_in(6, KEY_MAPS))
@pytest.mark.parametrize("spelling", modules.SPELLINGS)
def test_converted_files_have_the_names_that_trainers_write(key_map, spelling):
    """Every weight of a real file, by name only: shapes are one by one."""
    try:
        wanted = {m.name for m in modules.select(key_map, spelling)}
        source = modules.select(key_map, "generic")
    except ValueError as missing:
        pytest.skip(str(missing))
    model = FAMILY[key_map]
    tensors = {}
    for module in source:
        native = resolve(module.name, model).native
        parts = len(model.rows[native].parts)
        rows = model.rows_per_column.get(native, parts)
        tensors |= helpers.lora(module.name, (rows, 1, *module.shape[2:]), 1)
    written = convert(StateDict(tensors), Output(spelling=spelling)).lora
    # ComfyUI knows the MLPs of Flux.1 under two diffusers names and norms that no trainer touches.
    assert set(dense(written)) == wanted


# -- text encoders --------------------------------------------------------------------------------

BODY = "text_model.encoder.layers.0.mlp.fc1"
TEXT = {
    KOHYA: "lora_te1_" + BODY.replace(".", "_"),
    DIFFUSERS: f"text_encoder.{BODY}",
    GENERIC: f"text_encoders.clip_l.transformer.{BODY}",
}


def text_encoder(key_map: str, spelling: str, seed: object = 0) -> StateDict:
    raw = TEXT[spelling].replace("te1", "te" if key_map == "sd1.5" else "te1")
    pair, alpha = (helpers.KOHYA, 1.0) if spelling == KOHYA else (helpers.PEFT, None)
    return StateDict(helpers.lora(raw, (8, 4), 2, pair, alpha, seed=seed))


def text_cases() -> list[tuple]:
    """Every two of style, our and their spelling of the text encoder, not every three."""
    styles = [(k, s) for k in ("flux", "sdxl", "sd1.5") for s in sorted(small(k).styles)]
    return [
        (*style, ours, list(TEXT)[(i + j) % 3])
        for i, style in enumerate(styles)
        for j, ours in enumerate(TEXT)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("key_map, style, ours, theirs", one_in(10, text_cases()), ids=show)
def test_a_file_of_a_text_encoder_alone_says_how_the_rest_is_spelled(key_map, style, ours, theirs):
    model, file = small(key_map), small(key_map).file(style, 2)
    alone, text = text_encoder(key_map, ours, 1), text_encoder(key_map, theirs, 2)
    both = file | text
    written = blend(alone, StateDict(both), Blend(weights=(0.7, -0.4), rank="full")).lora
    updates = dense(written)
    ((name, first),), (second,) = dense(alone).items(), dense(text).values()
    assert error(updates.pop(name), 0.7 * first - 0.4 * second) < 1e-6
    # The diffusion model's layers have the names that go with the text encoder's.
    rest = StateDict({k: t for k, t in written.items() if not k.startswith(f"{name}.")})
    helpers.assert_close(
        model.meaning(rest), {w: -0.4 * change for w, change in model.meaning(file).items()}, 1e-6
    )
    prefixes = {KOHYA: "lora_unet_", DIFFUSERS: FAMILY[key_map].prefix, GENERIC: "diffusion_model."}
    assert all(raw.startswith(prefixes[ours]) for raw in updates)
    # The other way round it is as it was: the first file has names for both.
    written = blend(StateDict(both), alone, Blend(rank="full")).lora
    assert dense(written).keys() == dense(both).keys()


@pytest.mark.parametrize("spelling", TEXT)
def test_a_text_encoder_and_a_diffusion_model_of_nothing_in_common_become_one_file(spelling):
    alone, file = text_encoder("flux", spelling), small("flux").file(("transformer.", False))
    report = blend(alone, file).report
    assert (report.matched, report.only_in[0]) == (0, 1)
    assert "the files share no module: the result holds both, side by side" in report.notes
    assert report.inputs[0]["family"] == "Flux (likely, text encoders only)"


# -- cuts and orders ------------------------------------------------------------------------------


def test_attention_without_its_mlp_fuses_into_linear1_of_flux():
    """The rows of a part that no file has are known from the family: 7 rows per column."""
    raws = [f"transformer.single_transformer_blocks.0.attn.to_{part}" for part in "qkv"]
    tensors = helpers.lora_file(raws, shape=(8, 8), rank=2)
    written = convert(StateDict(tensors), Output(spelling=KOHYA)).lora
    (raw,) = dense(written)
    assert raw == "lora_unet_single_blocks_0_linear1"
    update = dense(written)[raw]
    assert update.shape == (56, 8) and not update[24:].any()
    for index, part in enumerate(raws):
        assert error(update[8 * index : 8 * index + 8], dense(tensors)[part]) < 1e-6
    # And back: the MLP that was never there is a rank of zeros.
    back = convert(written, Output(spelling=DIFFUSERS)).lora
    assert {raw: update for raw, update in dense(back).items() if raw in raws}.keys() == set(raws)
    for part in raws:
        assert error(dense(back)[part], dense(tensors)[part]) < 1e-6


def test_grouped_query_attention_stays_whole():
    """Lumina 2 has fewer rows for k and v than for q: nobody splits it, nothing refuses it."""
    raw = "diffusion_model.layers.0.attention.qkv"
    adaln = helpers.lora("diffusion_model.layers.0.adaLN_modulation.1", (8, 6))
    tensors = helpers.lora(raw, (10, 6)) | adaln
    written = blend(StateDict(tensors), StateDict(tensors), Blend(rank="full")).lora
    assert error(dense(written)[raw], 2 * dense(tensors)[raw]) < 1e-6


@pytest.mark.parametrize("rows, swapped", [(8, True), (24, False)])
def test_the_last_context_block_of_sd3_has_its_halves_swapped(rows, swapped):
    raw = "transformer.transformer_blocks.23.norm1_context.linear"
    tensors = StateDict(
        helpers.lora(raw, (rows, 4))
        | helpers.lora("transformer.transformer_blocks.23.norm1.linear", (24, 4))
        | helpers.lora("transformer.transformer_blocks.23.attn2.to_q", (4, 4))
    )
    written = dense(convert(tensors, Output(spelling=KOHYA)).lora)
    native = written["lora_unet_joint_blocks_23_context_block_adaLN_modulation_1"]
    exact = dense(tensors)[raw]
    assert error(native, exact.roll(rows // 2, 0) if swapped else exact) < 1e-6
    back = convert(convert(tensors, Output(spelling=KOHYA)).lora, Output(spelling=DIFFUSERS)).lora
    assert error(dense(back)[raw], exact) < 1e-6


def test_a_kind_that_cannot_be_cut_is_refused_where_a_spelling_would_cut_it():
    raw = "lora_unet_double_blocks_0_img_attn_qkv"
    dora = helpers.lora(raw, (12, 4), 2, helpers.KOHYA, 2.0) | {
        f"{raw}.dora_scale": torch.ones(12, 1)
    }
    with pytest.raises(LoraError, match=r"module double_blocks.0.img_attn.qkv: is a DoRA, and its"):
        convert(StateDict(dora), Output(spelling=DIFFUSERS))
    # A name alone can change.
    kept = convert(StateDict(dora), Output(spelling=GENERIC)).lora
    assert "diffusion_model.double_blocks.0.img_attn.qkv.dora_scale" in kept


def test_a_lokr_of_a_fused_weight_is_split_exactly():
    raw = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = StateDict({f"{raw}.lokr_w1": randn((4, 2), 1), f"{raw}.lokr_w2": randn((3, 2), 2)})
    exact = torch.kron(randn((4, 2), 1).double(), randn((3, 2), 2).double())
    # A LoRA in diffusers' spelling takes its cut, and gives it to what is added.
    parts = [f"transformer.transformer_blocks.0.attn.to_{part}" for part in "qkv"]
    edited = blend(lora_file(parts, shape=(4, 4)), tensors, Blend((0, 1), "full"), compute=EXACT)
    written = dense(edited.lora)
    for index, part in enumerate("qkv"):
        update = written[f"transformer.transformer_blocks.0.attn.to_{part}"]
        assert error(update, exact[4 * index : 4 * index + 4]) < 1e-6
    with pytest.raises(SettingError, match="LoKr of full rank, and diffusers takes LoRA only"):
        convert(tensors, Output(spelling=DIFFUSERS))


# -- random mixes of spellings within a file ------------------------------------------------------


@st.composite
def mixed_file(draw):
    """Flux modules, each in a style of its own; a weight can be there whole or in parts."""
    model = small("flux")
    result = StateDict()
    for weight in draw(st.sets(st.sampled_from(sorted(model.shapes)), min_size=1)):
        styles = [style for style in sorted(model.styles) if weight in model.styles[style]]
        style, seed = draw(st.sampled_from(styles)), draw(st.integers(0, 9))
        file = model.file(style, draw(st.integers(1, 3)), seed)
        raws = [raw for raw in dense(file) if model.places[raw][0] == weight]
        kept = draw(st.sets(st.sampled_from(sorted(raws)), min_size=1))
        result |= {k: t for k, t in file.items() if any(k.startswith(raw + ".") for raw in kept)}
    return StateDict(result)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(mixed_file(), mixed_file(), st.sampled_from(["match", KOHYA, DIFFUSERS, GENERIC]))
def test_mixed_spellings_blend_exactly_into_any_spelling(first, second, spelling):
    model = small("flux")
    parts = [model.meaning(first), model.meaning(second)]
    settings = Blend(weights=(0.5, 2.0), rank="full")
    written = blend(first, second, settings, Output(spelling=spelling), EXACT).lora
    exact = {
        weight: sum(
            w * part[weight] for w, part in zip((0.5, 2.0), parts, strict=True) if weight in part
        )
        for weight in parts[0].keys() | parts[1].keys()
    }
    helpers.assert_close(model.meaning(written), exact, 1e-6)


# -- diffusers ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_diffusers_loads_what_is_written_for_a_unet_and_means_the_same():
    """ComfyUI and diffusers read UNets' attention under one name only with the old suffixes."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8, 8, 8), layers_per_block=2, cross_attention_dim=8,
        attention_head_dim=4, norm_num_groups=4, in_channels=4, out_channels=4,
    )  # fmt: skip
    layers = {
        name: layer.weight.detach().clone()
        for name, layer in unet.named_modules()
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) and "block" in name
    }
    tensors = {}
    for name, weight in layers.items():
        raw = "lora_unet_" + name.replace(".", "_")
        tensors |= helpers.lora(raw, weight.shape, 2, helpers.KOHYA, 1.0, seed=name)
    written = convert(StateDict(tensors), Output(spelling=DIFFUSERS)).lora
    unet.load_lora_adapter(dict(written), prefix="unet")
    unet.fuse_lora()
    exact = dense(tensors)
    for name, before in layers.items():
        layer = unet.get_submodule(name)
        change = getattr(layer, "base_layer", layer).weight.detach() - before
        assert error(change.flatten(1), exact["lora_unet_" + name.replace(".", "_")]) < 1e-4, name
