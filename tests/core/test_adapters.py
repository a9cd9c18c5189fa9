"""What every stored kind means, measured against the libraries that trained and saved it.

The files in tests/data/adapters were trained and saved by PEFT, diffusers and LyCORIS; the
`.expected` file beside each holds the change of the weights that the library itself computes (see
tests/make_fixtures.py). Where ComfyUI reads a file differently, what it does counts here.
"""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from core import (
    Blend,
    Compute,
    Lora,
    LoraError,
    Output,
    RankRule,
    Reading,
    StateDict,
    blend,
    convert,
    resize,
    select,
)
from core.adapters import KINDS
from core.low_rank import Dense, LowRank
from tests import helpers
from tests.helpers import error, lora, randn

FOLDER = Path(__file__).parents[1] / "data" / "adapters"
NAMES = sorted(
    p.stem for p in FOLDER.glob("*.safetensors") if "." not in p.stem and p.stem != "base"
)
EXACT = Compute(dtype=torch.float64)
CPU = torch.device("cpu")

# What ComfyUI makes of the files that it reads with other settings than those of the training: the
# share of the trained change (PEFT's alpha / r, which is not beside the modules).
COMFYUI_SCALE = {"peft_lokr": {"": 1 / 2}, "diffusers_rslora": {"": 1 / 2}}
COMFYUI_SCALE["diffusers_patterns"] = {"to_q": 6 / 4, "conv1": 4 / 2, "conv_shortcut": 1.0}
# DoRA files, by what divides the magnitude: the norm of the changed weight over these dimensions.
DORA = {
    "diffusers_dora": "out",
    "locon_dora": "out",
    "locon_dora_in": "in",
    "loha_dora": "out",
    "lokr_dora": "out",
}
NEEDS_BASE = {*DORA, "glora", "oft", "oft_rescaled", "oft_constrained", "boft", "boft_rescaled"}


def expected(name: str) -> dict[str, torch.Tensor]:
    return {k: t.double() for k, t in load_file(FOLDER / f"{name}.expected.safetensors").items()}


def changes(source, reading: Reading = Reading()) -> dict[str, torch.Tensor]:
    """Our dW of every module, in float64: raw name (with .bias for a bias) -> tensor."""
    result = {}
    for module in Lora(source, reading=reading).modules.values():
        update = module.update(CPU, torch.float64)
        dense = update.values if isinstance(update, Dense) else update.dense()
        suffix = ".bias" if module.parameter == "bias" else ""
        result[module.raw + suffix] = dense.reshape(update.shape)
    return result


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEEDS_BASE])
def test_the_update_is_what_the_library_computes(name):
    ours, theirs = changes(FOLDER / f"{name}.safetensors"), expected(name)
    assert ours.keys() == theirs.keys()
    for raw, change in theirs.items():
        shares = COMFYUI_SCALE.get(name, {"": 1.0})
        share = next(value for ending, value in shares.items() if raw.endswith(ending))
        assert error(ours[raw].reshape(change.shape), share * change) < 1e-6, raw


@pytest.mark.parametrize("name", ["diffusers_rslora", "diffusers_patterns"])
def test_with_the_scale_from_the_metadata_it_is_what_diffusers_computes(name):
    ours = changes(FOLDER / f"{name}.safetensors", Reading(scale_from_metadata=True))
    for raw, change in expected(name).items():
        assert error(ours[raw], change.reshape(ours[raw].shape)) < 1e-6, raw


@pytest.mark.parametrize("name", DORA)
def test_without_its_magnitude_a_dora_is_the_low_rank_part_that_it_trains(name):
    base = load_file(FOLDER / "base.safetensors")
    stored = load_file(FOLDER / f"{name}.safetensors")
    ours = changes(FOLDER / f"{name}.safetensors", Reading(drop_magnitude=True))
    for raw, change in expected(name).items():
        path = next(p for p in base if raw.endswith(p.removesuffix(".weight").replace(".", "_"))
                    or raw.endswith(p.removesuffix(".weight")))  # fmt: skip
        weight = base[path].double()
        magnitude = next(t for k, t in stored.items() if (k.startswith(raw) and "magnitude" in k)
                         or k == f"{raw}.dora_scale").double()  # fmt: skip
        changed = weight + ours[raw].reshape(weight.shape)
        ones = (1,) * (weight.ndim - 1)
        if DORA[name] == "out":
            norm = changed.flatten(1).norm(dim=1).reshape(-1, *ones)
            magnitude = magnitude.reshape(-1, *ones)
        else:
            norm = changed.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *ones[1:])
            magnitude = magnitude.reshape(1, -1, *ones[1:])
        assert error(changed * magnitude / norm - weight, change.reshape(weight.shape)) < 1e-5, raw


@pytest.mark.parametrize("name", sorted(NEEDS_BASE))
def test_what_needs_the_base_weight_is_refused_by_name_with_a_way_out(name):
    path = FOLDER / f"{name}.safetensors"
    kind = name.split("_")[0].upper().replace("GLORA", "GLoRA") if name not in DORA else "DoRA"
    with pytest.raises(LoraError) as caught:
        blend(path, None, Blend(weights=(0.5, 1.0)))
    message = str(caught.value)
    assert f"{name}.safetensors: module " in message and f"is a {kind}, and it" in message
    assert "bake it with the base model first" in message and "layers selector" in message
    assert ("--drop-magnitude" in message) == (kind == "DoRA")


@pytest.mark.parametrize("name", NAMES)
def test_untouched_it_is_carried_to_the_bit(name):
    path = FOLDER / f"{name}.safetensors"
    stored = load_file(path)
    assert helpers.same_bits(select(path, "")[0].lora, stored)
    assert helpers.same_bits(blend(path, None, Blend(rank=None)).lora, stored)
    assert helpers.same_bits(convert(path, Output()).lora, stored)


@pytest.mark.parametrize("name", NAMES)
def test_converting_renames_it_and_leaves_its_numbers(name):
    path = FOLDER / f"{name}.safetensors"
    stored = load_file(path)
    for spelling in ("kohya", "generic", "diffusers"):
        written = convert(path, Output(spelling=spelling)).lora
        if name in NEEDS_BASE:
            assert sorted(map(numbers, written.values())) == sorted(map(numbers, stored.values()))
            continue
        ours, theirs = changes(path), changes(written)
        old, new = ({m.canonical: m for m in Lora(f).modules.values()} for f in (path, written))
        assert old.keys() == new.keys()
        for canonical, module in old.items():
            suffix = ".bias" if module.parameter == "bias" else ""
            change = ours[module.raw + suffix]
            after = theirs[new[canonical].raw + suffix]
            assert error(after.reshape(change.shape), change) < 1e-6


def numbers(tensor: torch.Tensor) -> bytes:
    return bytes(helpers.raw_bytes(tensor).tolist())


# -- definitions, on numbers that can be checked by hand ------------------------------------------


def one(tensors) -> torch.Tensor:
    (change,) = changes(
        StateDict({f"x.{key}": torch.tensor(t) for key, t in tensors.items()})
    ).values()
    return change


A, B = [[1.0], [2.0]], [[3.0, 4.0]]  # a b = [[3, 4], [6, 8]]
C, D = [[1.0], [-1.0]], [[1.0, 2.0]]  # c d = [[1, 2], [-1, -2]]


def test_loha_multiplies_two_products_entry_by_entry():
    tensors = {"hada_w1_a": A, "hada_w1_b": B, "hada_w2_a": C, "hada_w2_b": D}
    assert one(tensors).tolist() == [[3.0, 8.0], [-6.0, -16.0]]
    assert one(tensors | {"alpha": 0.5}).tolist() == [[1.5, 4.0], [-3.0, -8.0]]


def test_lokr_is_a_kronecker_product():
    whole = {"lokr_w1": [[1.0, 2.0], [0.0, -1.0]], "lokr_w2": [[3.0, 4.0]]}
    assert one(whole).tolist() == [[3.0, 4.0, 6.0, 8.0], [0.0, 0.0, -3.0, -4.0]]
    # Alpha does not count where both are stored whole.
    assert one(whole | {"alpha": 0.5}).tolist() == one(whole).tolist()
    factored = {
        "lokr_w1": [[1.0, 2.0], [0.0, -1.0]],
        "lokr_w2_a": [[1.0]],
        "lokr_w2_b": [[3.0, 4.0]],
    }
    assert one(factored).tolist() == one(whole).tolist()
    assert one(factored | {"alpha": 0.5}).tolist() == (0.5 * one(whole)).tolist()
    first = {"lokr_w1_a": [[2.0]], "lokr_w1_b": [[1.0]], "lokr_w2": [[3.0, 4.0]], "alpha": 3.0}
    assert one(first).tolist() == [[18.0, 24.0]]


def test_alpha_of_lokr_is_divided_by_the_rank_of_w2_where_both_have_factors():
    tensors = {
        "x.lokr_w1_a": randn((3, 1), "a"), "x.lokr_w1_b": randn((1, 3), "b"),
        "x.lokr_w2_a": randn((3, 2), "c"), "x.lokr_w2_b": randn((2, 3), "d"),
    }  # fmt: skip
    plain, scaled = (changes(t)["x"] for t in (tensors, tensors | {"x.alpha": torch.tensor(1.0)}))
    assert error(scaled, plain / 2) < 1e-12


# -- thin products and whole matrices -------------------------------------------------------------


def loha(raw, out, inner, rank, seed=0):
    shapes = {
        "w1_a": (out, rank),
        "w1_b": (rank, inner),
        "w2_a": (out, rank),
        "w2_b": (rank, inner),
    }
    return {f"{raw}.hada_{k}": randn(shape, seed, raw, k) for k, shape in shapes.items()}


def lokr(raw, w1, w2, seed=0):
    return {f"{raw}.lokr_w1": randn(w1, seed, raw, 1), f"{raw}.lokr_w2": randn(w2, seed, raw, 2)}


@pytest.mark.parametrize(
    "tensors, thin, rank",
    [
        (loha("x", 16, 24, 2), True, 4),
        (loha("x", 16, 18, 3), False, 9),
        (loha("x", 18, 18, 3), True, 9),
        (loha("x", 16, 24, 5), False, 16),
        (lokr("x", (2, 3), (4, 4)), False, 8),
        (lokr("x", (9, 1), (2, 8)), True, 2),
    ],
)
def test_a_product_is_kept_as_factors_up_to_half_of_the_full_rank(tensors, thin, rank):
    (module,) = Lora(StateDict(tensors)).modules.values()
    update = module.update(CPU, torch.float64)
    assert isinstance(update, LowRank if thin else Dense)
    assert module.rank == rank
    assert module.measure.shape == update.shape
    assert ("whole matrix" in module.measure.note) != thin
    if thin:
        assert update.rank == rank


def test_the_report_says_why_a_module_was_computed_as_a_whole():
    large = loha("diffusion_model.blocks.0.ffn.0", 16, 16, 4)
    small = lora("diffusion_model.blocks.0.ffn.2", (16, 16), 2)
    rows = blend(StateDict(large | small), None, Blend(weights=(0.5, 1.0))).report.modules
    assert "whole matrix" in rows[0].note and "whole matrix" not in rows[1].note
    rows = resize(StateDict(large), RankRule("rank", 3)).report.modules
    assert "LoHa of more than half the full rank: computed as a whole matrix" in rows[0].note


def test_a_lokr_with_t2_says_that_comfyui_fails_on_it():
    path = FOLDER / "lokr_tucker.safetensors"
    assert any("ComfyUI 0.33 fails" in note for note in Lora(path).notes)
    report = blend(path, None, Blend(weights=(0.5, 1.0))).report
    assert sum("ComfyUI 0.33 fails" in row.note for row in report.modules) == 1


# -- mixtures -------------------------------------------------------------------------------------

NAME = "diffusion_model.blocks.0.self_attn.q"
SIZE = (16, 12)


def stored_as(kind: str, seed=0) -> dict[str, torch.Tensor]:
    return {
        "lora": lambda: lora(NAME, SIZE, 3, seed=seed),
        "loha thin": lambda: loha(NAME, *SIZE, 2, seed),
        "loha whole": lambda: loha(NAME, *SIZE, 4, seed),
        "lokr thin": lambda: lokr(NAME, (4, 1), (4, 12), seed),
        "lokr whole": lambda: lokr(NAME, (4, 3), (4, 4), seed),
        "difference": lambda: {f"{NAME}.diff": randn(SIZE, seed)},
    }[kind]()


MIXED = ("lora", "loha thin", "loha whole", "lokr thin", "lokr whole", "difference")


@pytest.mark.parametrize("second", MIXED)
@pytest.mark.parametrize("first", MIXED)
def test_any_kind_blends_with_any_kind_as_the_weighted_sum(first, second):
    one, two = stored_as(first, 1), stored_as(second, 2)
    exact = 0.7 * changes(one)[NAME] - 0.4 * changes(two)[NAME]
    full = blend(one, two, Blend(weights=(0.7, -0.4), rank=None), compute=EXACT)
    assert error(changes(full.lora)[NAME], exact) < 1e-6
    cut = blend(one, two, Blend(weights=(0.7, -0.4), rank=5), compute=EXACT)
    if first == second == "difference":
        assert list(cut.lora) == [f"{NAME}.diff"]
        return
    assert sorted(cut.lora) == [f"{NAME}.lora_A.weight", f"{NAME}.lora_B.weight"]
    found = error(changes(cut.lora)[NAME], exact)
    assert found == pytest.approx(helpers.best_error(exact, 5), abs=1e-6)
    assert cut.report.modules[0].relative_error == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("kind", MIXED[1:])
def test_resize_writes_lora(kind):
    tensors = stored_as(kind)
    exact = changes(tensors)[NAME]
    resized = resize(tensors, RankRule("rank", 4), compute=EXACT)
    assert sorted(resized.lora) == [f"{NAME}.lora_A.weight", f"{NAME}.lora_B.weight"]
    assert error(changes(resized.lora)[NAME], exact) == pytest.approx(
        helpers.best_error(exact, 4), abs=1e-6
    )


@pytest.mark.parametrize("kind", ["loha whole", "lokr whole", "difference"])
def test_resize_leaves_what_is_smaller_as_it_is(kind):
    tensors = stored_as(kind)
    resized = resize(tensors, RankRule("energy", 1.0), compute=EXACT)
    assert helpers.same_bits(resized.lora, tensors)
    assert resized.report.modules[0].note == "smaller as it is"


def test_norms_and_biases_blend_as_weighted_sums():
    def file(seed):
        name = "lycoris_layers_0_attention_norm1"
        return {f"{name}.w_norm": randn((6,), seed), f"{name}.b_norm": randn((6,), seed, "b"),
                "lycoris_layers_0_attention_out.diff_b": randn((6,), seed, "o")}  # fmt: skip

    one, two = file(1), file(2)
    written = blend(one, two, Blend(weights=(0.5, 2.0))).lora
    assert written.keys() == one.keys()
    for key, tensor in written.items():
        assert error(tensor, 0.5 * one[key].double() + 2.0 * two[key].double()) < 1e-6


@pytest.mark.parametrize("balance", ["softmax", "proportional"])
def test_balances_work_for_every_kind(balance):
    from core.balance import BALANCES

    one = stored_as("lokr whole") | {"diffusion_model.blocks.0.norm3.diff_b": randn((6,), 1)}
    two = stored_as("difference") | {"diffusion_model.blocks.0.norm3.diff_b": randn((6,), 2)}
    report = blend(one, two, Blend(balance=BALANCES[balance](), rank=4)).report
    assert [row.action for row in report.modules] == ["blended", "blended"]


# -- sorting tensors into adapters ----------------------------------------------------------------


def test_of_two_kinds_for_one_module_the_later_in_comfyuis_loader_counts():
    tensors = lora("x", SIZE, 2) | loha("x", *SIZE, 2)
    read = Lora(StateDict(tensors))
    (module,) = read.modules.values()
    assert module.adapter.kind.name == "LoHa"
    assert sorted(read.shadowed) == ["x.lora_A.weight", "x.lora_B.weight"]
    assert "replace it" in read.shadowed["x.lora_A.weight"]


def test_a_magnitude_counts_only_for_what_it_can_modify():
    magnitude = {"x.dora_scale": torch.ones(16, 1)}
    read = Lora(StateDict(lora("x", SIZE, 2) | magnitude))
    assert [m.adapter.kind.name for m in read.modules.values()] == ["DoRA"]
    assert [m.rank for m in read.modules.values()] == [2]
    read = Lora(StateDict({"x.diff": torch.ones(16, 12)} | magnitude))
    assert [m.adapter.kind.name for m in read.modules.values()] == ["difference"]
    assert "does not apply it to a difference" in read.shadowed["x.dora_scale"]
    read = Lora(StateDict(lora("y", SIZE, 2) | magnitude))
    assert read.other == {"x.dora_scale": "a DoRA without factors"}


@pytest.mark.parametrize("missing", ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"])
def test_a_loha_that_lacks_a_factor_is_refused(missing):
    tensors = loha("x", *SIZE, 2)
    del tensors[f"x.{missing}"]
    with pytest.raises(LoraError, match=r"module x has .* but no w\d_. factor"):
        Lora(StateDict(tensors))


@pytest.mark.parametrize("missing", ["w1", "w2"])
def test_a_lokr_that_lacks_a_factor_is_refused(missing):
    tensors = lokr("x", (4, 3), (4, 4))
    del tensors[f"x.lokr_{missing}"]
    with pytest.raises(LoraError, match=rf"no {missing} \| {missing}_a {missing}_b factor"):
        Lora(StateDict(tensors))


@pytest.mark.parametrize(
    "tensors",
    [
        loha("x", 4, 4, 2) | {"x.hada_w1_b": torch.ones(3, 4)},
        loha("x", 4, 4, 2) | {"x.hada_w2_b": torch.ones(2, 5)},
        loha("x", 4, 4, 2) | {"x.hada_w2_a": torch.ones(5, 2)},
        loha("x", 4, 4, 2) | {"x.hada_w1_a": torch.ones(4)},
        loha("x", 4, 4, 2) | {"x.hada_t1": torch.ones(2, 2, 3, 3)},
        loha("x", 4, 4, 0),
        lokr("x", (2,), (2, 2)),
        lokr("x", (0, 2), (2, 2)),
        {"x.lokr_w1": torch.ones(2, 2), "x.lokr_w2_a": torch.ones(2, 3), "x.lokr_w2_b": torch.ones(2, 3)},
        lokr("x", (2, 2), (2, 2)) | {"x.lokr_w1": torch.full((2, 2), float("nan"))},
    ],
)  # fmt: skip
def test_factors_that_do_not_fit_are_refused_by_name(tensors):
    lora = Lora(StateDict(tensors, name="broken"))
    with pytest.raises(LoraError, match=r"broken: module x: .*x\.(hada|lokr)_"):
        for module in lora.modules.values():
            module.update(CPU, torch.float64)


def test_every_kind_has_suffixes_of_its_own():
    suffixes = [suffix for kind in KINDS for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))
    for kind in KINDS:
        assert (kind.update is None) == bool(kind.needs_base)


# -- reading options ------------------------------------------------------------------------------


def test_dropping_magnitudes_is_said_and_writes_plain_lora():
    path = FOLDER / "locon_dora.safetensors"
    edited = blend(
        Lora(path, reading=Reading(drop_magnitude=True)), None, Blend(weights=(0.5, 1.0))
    )
    assert not any("dora_scale" in key for key in edited.lora)
    assert any("without the magnitudes of 3 DoRA modules" in n for n in edited.report.notes)
    dropped = [key for key in edited.report.dropped if key.endswith(".dora_scale")]
    assert len(dropped) == 3
    kept = select(Lora(path, reading=Reading(drop_magnitude=True)), "")[0].lora
    assert helpers.same_bits(kept, {k: t for k, t in load_file(path).items() if "dora" not in k})


def test_a_report_says_where_diffusers_scales_otherwise_with_numbers():
    report = select(FOLDER / "diffusers_patterns.safetensors", "")[0].report
    (note,) = [n for n in report.notes if "diffusers scales" in n]
    assert "2 of 3 modules by 0.5 to 0.666667" in note and "alpha_pattern {'conv1': 2}" in note
    assert "--scale-from-metadata" in note
    lora = Lora(
        FOLDER / "diffusers_patterns.safetensors", reading=Reading(scale_from_metadata=True)
    )
    kept = select(lora, "")[0]
    (note,) = [n for n in kept.report.notes if "scaled 2 of 3" in n]
    # What is written says by itself what diffusers reads: the settings are gone with it.
    assert "lora_adapter_metadata" not in kept.lora.metadata
    theirs = changes(FOLDER / "diffusers_patterns.safetensors", Reading(scale_from_metadata=True))
    for raw, change in changes(kept.lora).items():
        assert error(change, theirs[raw].reshape(change.shape)) < 1e-6


def test_the_settings_of_a_file_whose_scale_is_one_change_nothing():
    path = Path(__file__).parents[2] / "core" / "samples" / "style_diffusers.safetensors"
    lora = Lora(path, reading=Reading(scale_from_metadata=True))
    assert lora.notes == []
    assert helpers.same_bits(select(lora, "")[0].lora, load_file(path))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "3", '{"lora_alpha": "x"}', '{"lora_alpha": 4, "alpha_pattern": {"(": 1}}'],
)
def test_settings_that_cannot_be_read_count_as_none(text):
    tensors = StateDict(lora("x", SIZE, 4), {"lora_adapter_metadata": text})
    assert Lora(tensors).notes == []


def test_alpha_beside_a_module_counts_before_the_settings():
    settings = {"lora_adapter_metadata": '{"lora_alpha": 8, "r": 4}'}
    tensors = StateDict(lora("x", SIZE, 4, alpha=4.0), settings)
    assert Lora(tensors).notes == []
    assert len(Lora(StateDict(lora("x", SIZE, 4), settings)).notes) == 1


# -- files that ComfyUI renames as a whole --------------------------------------------------------


def control_lora() -> dict[str, torch.Tensor]:
    """The keys of Black Forest Labs' control LoRAs, small."""
    result = lora("double_blocks.0.img_attn.qkv", (24, 8), 2)
    result |= {"double_blocks.0.img_attn.qkv.lora_B.bias": torch.ones(24)}
    result |= lora("img_in", (8, 16), 2) | {"img_in.lora_B.bias": torch.ones(8)}
    norms = (
        "single_blocks.0.norm.key_norm.scale",
        "double_blocks.0.img_attn.norm.query_norm.scale",
    )
    return result | {name: torch.full((4,), 2.0) for name in norms}


def test_a_control_lora_is_read_as_comfyui_renames_it():
    read = Lora(StateDict(control_lora(), name="depth"))
    kinds = {m.canonical: m.adapter.kind.name for m in read.modules.values()}
    assert kinds == {
        "double_blocks.0.img_attn.qkv": "LoRA",
        "double_blocks.0.img_attn.qkv.bias": "bias",
        "img_in": "reshaped weight",
        "img_in.bias": "bias",
        "single_blocks.0.norm.key_norm": "set weight",
        "double_blocks.0.img_attn.norm.query_norm": "set weight",
    }
    assert read.other == {} and any("Flux control LoRA" in note for note in read.notes)
    kept = select(read, "-img_in.bias")[0].lora
    assert kept["diffusion_model.img_in.reshape_weight"].tolist() == [8, 16]
    assert "diffusion_model.single_blocks.0.norm.key_norm.set_weight" in kept
    with pytest.raises(
        LoraError, match="depth: module img_in: is a reshaped weight, and it enlarges"
    ):
        blend(read, None, Blend(weights=(0.5, 1.0)))
    with pytest.raises(LoraError, match="is a set weight, and it replaces the base weight"):
        blend(read, None, Blend(weights=(0.5, 1.0), layers="-img_in"))
    left = blend(read, None, Blend(weights=(0.5, 1.0), layers="-img_in, -*norm*")).lora
    assert sorted(Lora(left).modules) == [
        "double_blocks.0.img_attn.qkv",
        "double_blocks.0.img_attn.qkv.bias",
    ]


def test_wan_fun_names_are_read_and_written_as_kohyas():
    name = "lora_unet__blocks_0_cross_attn_k"
    read = Lora(StateDict(lora(name, (8, 8), 2, helpers.KOHYA, 1.0)))
    assert list(read.modules) == ["blocks.0.cross_attn.k"] and read.family.name == "Wan"
    kept = select(read, "")[0].lora
    assert all(key.startswith("lora_unet_blocks_0_cross_attn_k.") for key in kept)


def test_uso_names_are_read_as_comfyui_renames_them():
    pair = (".up.weight", ".down.weight")
    tensors = lora("single_blocks.37.processor.qkv_lora", (24, 8), 2, pair)
    tensors |= lora("single_blocks.37.processor.proj_lora", (8, 40), 2, pair)
    for number in (1, 2):
        tensors |= lora(f"double_blocks.18.processor.qkv_lora{number}", (24, 8), 2, pair)
        tensors |= lora(f"double_blocks.18.processor.proj_lora{number}", (8, 8), 2, pair)
    read = Lora(StateDict(tensors))
    assert set(read.modules) == {
        "single_blocks.37.linear1.qkv",
        "single_blocks.37.linear2",
        "double_blocks.18.img_attn.qkv",
        "double_blocks.18.img_attn.proj",
        "double_blocks.18.txt_attn.qkv",
        "double_blocks.18.txt_attn.proj",
    }
    assert read.other == {}


# -- anything at all ------------------------------------------------------------------------------

DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])
MODULES = st.sampled_from(
    [
        "lora_unet_double_blocks_0_img_attn_qkv",
        "diffusion_model.double_blocks.0.img_attn.qkv",
        "transformer.transformer_blocks.0.attn.to_q",
        "transformer.transformer_blocks.0.attn.to_k",
        "lycoris_transformer_blocks_0_attn_to_v",
        "transformer.norm_out.linear",
        "lora_unet_final_layer_adaLN_modulation_1",
        "single_blocks.0.linear1_qkv",
        "transformer.single_transformer_blocks.0.proj_mlp",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1",
        "some.other.thing.7",
        "lora_unet_some_other_thing_7",
    ]
)
ROWS = {"qkv": 12, "linear1_qkv": 12, "mlp": 16, "linear": 8, "1": 8}


@st.composite
def module(draw):
    """A module of any kind, name, rank and dtype; shapes fit the miniature model, mostly."""
    raw = draw(MODULES)
    rows = draw(st.sampled_from([ROWS.get(raw.replace("_", ".").split(".")[-1], 4)] * 9 + [5]))
    rank, dtype, seed = draw(st.integers(1, 5)), draw(DTYPES), draw(st.integers(0, 99))
    kind = draw(st.integers(0, 9))
    tensors = {
        0: lambda: lora(raw, (rows, 4), rank, draw(st.sampled_from(helpers.PAIRS)), seed=seed),
        1: lambda: lora(raw, (rows, 4), rank, helpers.KOHYA, alpha=draw(st.floats(-2, 2)), seed=seed),
        2: lambda: loha(raw, rows, 4, rank, seed),
        3: lambda: lokr(raw, (rows, 2), (1, 2), seed),
        4: lambda: {f"{raw}.diff": randn((rows, 4), seed)},
        5: lambda: {f"{raw}.diff_b": randn((rows,), seed)},
        6: lambda: {f"{raw}.w_norm": randn((rows,), seed), f"{raw}.b_norm": randn((rows,), seed)},
        7: lambda: lora(raw, (rows, 4), rank, seed=seed) | {f"{raw}.dora_scale": torch.ones(rows, 1)},
        8: lambda: {f"{raw}.oft_blocks": randn((2, 2, 2), seed)},
        9: lambda: {f"{raw}.set_weight": randn((rows, 4), seed), f"{raw}.odd": randn((2,), seed)},
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
    modules = {key for m in lora.modules.values() for key in m.adapter.keys.values()}
    assert modules | set(lora.other) | set(lora.shadowed) == set(source)
    for key in lora.shadowed:
        assert f"random: {key}" in report.dropped
    for key in lora.other:
        assert key in report.carried and torch.equal(result[key], source[key])
    for row in report.modules:
        assert row.action in ("copied", "blended", "scaled", "converted", "truncated", "dropped")


@settings(max_examples=150, deadline=None)
@given(file(), file(), st.sampled_from([None, 3]), st.sampled_from(["match", "kohya", "diffusers"]))
def test_random_files_of_any_mix_work_or_say_what_is_wrong(first, second, rank, spelling):
    for edit in (
        lambda: select(first, ""),
        lambda: convert(first, Output(spelling=spelling)),
        lambda: resize(first, RankRule("rank", rank or 2)),
        lambda: blend(first, None, Blend(weights=(0.5, 1.0), rank=rank)),
        lambda: blend(first, second, Blend(weights=(1.0, -0.5), rank=rank), Output(spelling=spelling)),
    ):  # fmt: skip
        try:
            edited = edit()
        except LoraError as problem:
            assert len(str(problem)) > 20 and "\n" not in str(problem)
            continue
        edited = edited[0] if isinstance(edited, tuple) else edited
        accounted(first, edited.lora, edited.report)
        Lora(edited.lora)
