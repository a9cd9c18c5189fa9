"""What every stored kind means, measured against the libraries that trained and saved it.

The files in tests/data/adapters were trained and saved by PEFT, diffusers and LyCORIS; the
`.expected` file beside each holds the change of the weights that the library itself computes (see
tests/make_fixtures.py). Where ComfyUI reads a file differently, what it does counts here.

Also of kind.py, lora.py, loha.py, lokr.py, full.py, base_dependent.py: one table tests all.
"""

import pytest
import torch
from safetensors.torch import load_file

from core import (
    Blend,
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
from core.algebra.low_rank import LowRank
from core.algebra.update import Dense
from tests import helpers
from tests.core.kinds import (
    COMFYUI_SCALE,
    CPU,
    DORA,
    FOLDER,
    NAMES,
    NEEDS_BASE,
    changes,
    expected,
    glora,
    loha,
    lokr,
)
from tests.helpers import error, lora, randn
from tests.marks import one_in


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
    article = "an" if kind == "OFT" else "a"
    for edit in (
        lambda: blend(path, None, Blend(weights=(0.5,))),
        lambda: resize(path, RankRule("rank", 1)),
        lambda: resize(path, RankRule("megabytes", 1.0)),
        lambda: resize(path, RankRule("energy", 0.5), preview=True),
    ):
        with pytest.raises(LoraError) as caught:
            edit()
        message = str(caught.value)
        assert f"{name}.safetensors: module " in message
        assert f"is {article} {kind}, and it" in message
        assert "bake it with the base model first" in message and "layers selector" in message
        assert ("drop_magnitude" in message) == (kind == "DoRA")


def test_what_needs_the_base_weight_is_resized_by_nobody_and_stays_where_nothing_is_asked_of_it():
    dora = lora("x", rank=4) | {"x.dora_scale": torch.ones(16, 1)}
    stays = {"n.set_weight": torch.ones(4)}
    tensors = StateDict(dora | stays | lora("y", rank=4, seed=1))
    for rule, layers in ((RankRule("rank", 2), "-x"), (RankRule("rank", 4), "")):
        written = resize(tensors, rule, layers).lora
        assert helpers.same_bits({k: t for k, t in written.items() if k[0] != "y"}, dora | stays)
    assert len(resize(tensors, RankRule("rank", 2), "-x").lora["y.lora_A.weight"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_untouched_it_is_carried_to_the_bit(name):
    path = FOLDER / f"{name}.safetensors"
    stored = load_file(path)
    assert helpers.same_bits(select(path, "")[0].lora, stored)
    assert helpers.same_bits(blend(path, None, Blend(rank="full")).lora, stored)
    assert helpers.same_bits(convert(path, Output()).lora, stored)


# What is no product of thin factors, or needs the base model; PEFT's DoRA is as diffusers has it.
NOT_FOR_DIFFUSERS = {"full", "lokr_whole", *NEEDS_BASE} - {"diffusers_dora"}


@pytest.mark.parametrize("name", one_in(5, NAMES))
def test_converting_renames_it_and_leaves_its_numbers(name):
    path = FOLDER / f"{name}.safetensors"
    stored = load_file(path)
    for spelling in ("kohya", "generic", "diffusers"):
        if spelling == "diffusers" and name in NOT_FOR_DIFFUSERS:
            with pytest.raises(LoraError, match=r"full rank|bake it with the base model"):
                convert(path, Output(spelling=spelling))
            continue
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


def test_a_lora_is_scaled_by_alpha_over_rank():
    tensors = {"lora_up.weight": A, "lora_down.weight": B}
    assert one(tensors).tolist() == [[3.0, 4.0], [6.0, 8.0]]
    assert one(tensors | {"alpha": 0.5}).tolist() == [[1.5, 2.0], [3.0, 4.0]]
    doubled = {"lora_up.weight": [[1.0, 1.0], [2.0, 2.0]], "lora_down.weight": [B[0], B[0]]}
    assert one(doubled | {"alpha": 1.0}).tolist() == one(tensors).tolist()


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


@pytest.mark.parametrize(
    "tensors, thin, rank",
    [
        (loha("x", 16, 24, 2), True, 4),
        (loha("x", 16, 18, 3), False, 9),
        (loha("x", 18, 18, 3), True, 9),
        (loha("x", 16, 24, 5), False, 16),
        (lokr("x", (2, 3), (4, 4)), False, 8),
        (lokr("x", (9, 1), (2, 8)), True, 2),
        (
            {"x.lokr_w1_a": randn((6, 1), "a"), "x.lokr_w1_b": randn((1, 7), "b")}
            | {"x.lokr_w2": randn((4, 5), "c")},
            True,
            4,
        ),
    ],
)
def test_a_product_is_kept_as_factors_up_to_half_of_the_full_rank(tensors, thin, rank):
    (module,) = Lora(StateDict(tensors)).modules.values()
    part = {key.rpartition("_w")[2]: tensor.double() for key, tensor in tensors.items()}
    if "1_a" in part:
        part["1"] = part["1_a"] @ part["1_b"]
    if "2_a" in part:
        exact = part["1"] * (part["2_a"] @ part["2_b"])
    else:
        exact = torch.kron(part["1"], part["2"])
    assert error(changes(StateDict(tensors))["x"], exact) < 1e-12
    update = module.update(CPU, torch.float64)
    assert isinstance(update, LowRank if thin else Dense)
    assert module.rank == rank
    assert module.dimensions.shape == update.shape
    assert ("whole matrix" in module.dimensions.note) != thin
    if thin:
        assert update.rank == rank


@pytest.mark.parametrize(
    "tensors, shape",
    [
        (lora("x", (8, 6), 2), (8, 6)),
        (lora("x", (8, 6, 3, 5), 2), (8, 6, 3, 5)),
        (lora("x", (8, 6, 3, 5), 2, helpers.KOHYA, mid=True), (8, 6, 3, 5)),
        (lokr("x", (2, 3), (4, 5)), (8, 15)),
        (lokr("x", (2, 3), (4, 5, 3, 7)), (8, 15, 3, 7)),
        (
            {f"x.hada_w{i}_a": randn((2, 8), i) for i in "12"}
            | {f"x.hada_w{i}_b": randn((3, 6), i) for i in "12"}
            | {f"x.hada_t{i}": randn((2, 3, 3, 5), i) for i in "12"},
            (8, 6, 3, 5),
        ),
        (
            {"x.lokr_w1": randn((2, 3)), "x.lokr_t2": randn((2, 4, 3, 5))}
            | {"x.lokr_w2_a": randn((2, 7)), "x.lokr_w2_b": randn((4, 9))},
            (14, 27, 3, 5),
        ),
    ],
    ids=str,
)
def test_what_the_shapes_tell_is_what_the_update_is(tensors, shape):
    (module,) = Lora(StateDict(tensors)).modules.values()
    update = module.update(CPU, torch.float64)
    assert module.dimensions.shape == update.shape == shape
    if isinstance(update, LowRank):
        assert module.rank == update.rank


def test_the_shape_of_a_glora_is_that_of_its_weight():
    (module,) = Lora(StateDict(glora("x", 16, 12, 2))).modules.values()
    assert module.dimensions.shape == (16, 12)


def test_a_lokr_of_zeros_is_zero():
    tensors = {"x.lokr_w1": torch.zeros(4, 4), "x.lokr_w2": randn((4, 4))}
    resized = resize(StateDict(tensors), RankRule("rank", 3))
    assert not changes(resized.lora)["x"].any()
    assert resized.report.modules[0].note.startswith("zero")


def test_a_flat_convolution_gets_its_kernel_back():
    """Others than ComfyUI want it: which weights of a UNet are 3x3 is known from their names."""
    raw = "lora_unet_down_blocks_0_resnets_0_conv1"
    tensors = StateDict(loha(raw, 16, 8 * 9, 2))
    written = resize(tensors, RankRule("rank", 4)).lora
    assert written[f"{raw}.lora_down.weight"].shape == (4, 8, 3, 3)
    assert written[f"{raw}.lora_up.weight"].shape == (16, 4, 1, 1)
    exact = changes(tensors)[raw].flatten(1)
    assert error(changes(written)[raw].flatten(1), exact) < 1e-6


def test_the_report_says_why_a_module_was_computed_as_a_whole():
    large = loha("diffusion_model.blocks.0.ffn.0", 16, 16, 4)
    small = lora("diffusion_model.blocks.0.ffn.2", (16, 16), 2)
    rows = blend(StateDict(large | small), StateDict(large | small)).report.modules
    assert "whole matrix" in rows[0].note and "whole matrix" not in rows[1].note
    rows = resize(StateDict(large), RankRule("rank", 3)).report.modules
    assert "LoHa of more than half the full rank: computed as a whole matrix" in rows[0].note


def test_a_lokr_with_t2_says_that_comfyui_fails_on_it():
    path = FOLDER / "lokr_tucker.safetensors"
    assert any("ComfyUI 0.33 fails" in note for note in Lora(path).notes)
    report = blend(path, path).report
    assert sum("ComfyUI 0.33 fails" in row.note for row in report.modules) == 1


@pytest.mark.parametrize(
    "down, mid", [((2, 3), (4, 2, 3, 3)), ((2, 3), (2, 4, 3, 3)), ((2, 3, 3, 3), (2, 2, 3, 3))]
)
def test_a_middle_kernel_that_comfyui_cannot_multiply_is_refused(down, mid):
    tensors = {"x.lora_up.weight": randn((5, mid[0])), "x.lora_down.weight": randn(down)}
    with pytest.raises(LoraError, match=r"module x: .*mid .* do not fit"):
        changes(tensors | {"x.lora_mid.weight": randn(mid)})
