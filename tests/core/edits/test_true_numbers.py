"""What is written is true: within a few roundings, in the kinds that came, as the report says."""

import pytest
import torch
from safetensors.torch import load_file

from core import Blend, Compute, FileError, Output, blend, convert, select
from core.edits.verify import check
from core.merging.even import Even
from tests import helpers
from tests.core.kinds import changes, loha, lokr
from tests.helpers import error, lora, randn, same_bits

pytestmark = pytest.mark.slow


EPS = {"fp16": 2**-10, "bf16": 2**-7, "fp32": 2**-23}
NAME = "diffusion_model.blocks.0.x"
FLUX = "diffusion_model.double_blocks.0.img_attn.proj"  # A name that every spelling has.
UP, DOWN = f"{NAME}.lora_B.weight", f"{NAME}.lora_A.weight"
# A small one, two of SDXL's, one of Flux's proportions.
SHAPES = [((48, 40), 8), ((320, 320), 32), ((320, 160, 3, 3), 16), ((768, 192), 16)]
NEAR = Blend((1.0, -1.0), "full")


def near(shape, rank, apart=0.005) -> list[dict[str, torch.Tensor]]:
    """Two bf16 files that differ by so much of their size: what was trained, and a little more."""
    old = lora(NAME, shape, rank)
    new = {
        key: t + apart * t.norm() / t.numel() ** 0.5 * randn(t.shape, key) for key, t in old.items()
    }
    # What bf16 makes of them differs, too: in float32 it would not be the same two files.
    return [{key: t.bfloat16() for key, t in one.items()} for one in (new, old)]


def of(tensors) -> torch.Tensor:
    (change,) = changes(tensors).values()
    return change.flatten(1)


@pytest.mark.parametrize("rank", ["full", "auto", 512])
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("shape, stored", SHAPES, ids=str)
def test_a_small_difference_of_two_files(shape, stored, dtype, rank):
    new, old = near(shape, stored)
    exact = of(new) - of(old)
    assert error(of(new), of(old)) < 0.02
    edited = blend([new, old], settings=Blend((1.0, -1.0), rank), output=Output(dtype=dtype))
    found, reported = error(of(edited.lora), exact), edited.report.modules[0].relative_error
    cut = rank == "auto"  # It keeps the rank of one of the two.
    best = helpers.best_error(exact, stored) if cut else 0.0
    assert found < best * 1.001 + 2 * EPS[dtype] + 2e-6
    assert reported == pytest.approx(found, rel=0.05, abs=2e-6)
    if dtype == "fp32" and not cut:
        assert reported < 1e-5


@pytest.mark.parametrize("dtype", EPS)
def test_factors_that_cancel_inside_one_module(dtype):
    """[U, -U] [D; 1.001 D]: a thousandth of its terms, and of half their rank."""
    up, down = randn((48, 6), "u"), randn((6, 40), "d")
    state = {UP: torch.cat([up, -up], 1), DOWN: torch.cat([down, 1.001 * down])}
    exact = of(state)
    edits = {
        "convert": convert(state, Output(dtype=dtype)),
        "spelling": convert(
            {key.replace(NAME, FLUX): tensor for key, tensor in state.items()},
            Output(dtype=dtype, spelling="kohya"),
        ),
        "select": select(state, "", Output(dtype=dtype))[0],
        "blend": blend([state], output=Output(dtype=dtype)),
        "scaled": blend([state], settings=Blend((2.0,)), output=Output(dtype=dtype)),
    }
    for name, edited in edits.items():
        found = error(of(edited.lora), exact * (2 if name == "scaled" else 1))
        assert found < 2 * EPS[dtype] + 1e-4, name
        assert edited.report.modules[0].relative_error == pytest.approx(found, rel=0.05, abs=1e-4)


@pytest.mark.parametrize("size", [1e-9, 1e-8, 3e-8])
def test_what_fp16_cannot_hold_is_said(size):
    """Of numbers this small fp16 keeps few digits or none: the error is the true one, and noted."""
    state = lora(NAME, (48, 40), 4)
    state = {key: t * size for key, t in state.items()}
    for edited in (
        convert(state, Output(dtype="fp16")),
        select(state, "", Output(dtype="fp16"))[0],
    ):
        found = error(of(edited.lora), of(state))
        row = edited.report.modules[0]
        assert row.relative_error == pytest.approx(found, rel=0.05) and found > 0.01
        assert any("too small for the format" in note for note in edited.report.notes)


def test_a_file_further_away_than_the_report_says_fails(tmp_path):
    new, old = near(*SHAPES[0])
    path = tmp_path / "out.safetensors"
    edited = blend([new, old], settings=NEAR, output=Output(path, dtype="bf16"))
    check(edited, [new, old], (1.0, -1.0))
    written = load_file(path)
    written[UP] = written[UP] * 1.02
    helpers.save(written, path)
    with pytest.raises(FileError, match=r"was written with a relative error of 0\.02"):
        check(edited, [new, old], (1.0, -1.0))


KINDS = {
    "loha": loha(NAME, 32, 24, 4),
    "loha alpha": loha(NAME, 32, 24, 4) | {f"{NAME}.alpha": torch.tensor(2.0)},
    "lokr": lokr(NAME, (4, 4), (8, 6)),
    "lokr factors": {
        f"{NAME}.lokr_w1": randn((4, 4), 1),
        f"{NAME}.lokr_w2_a": randn((8, 2), 2),
        f"{NAME}.lokr_w2_b": randn((2, 6), 3),
        f"{NAME}.alpha": torch.tensor(1.0),
    },
    "locon mid": lora(NAME, (16, 12, 3, 3), 4, helpers.KOHYA, 2.0, mid=True),
    "lora": lora(NAME, (16, 12), 4, helpers.KOHYA, 2.0),
    "difference": {f"{NAME}.diff": randn((16, 12))},
}


@pytest.mark.parametrize("dtype", ["match", "bf16", "fp16"])
@pytest.mark.parametrize("by_block", [False, True])
@pytest.mark.parametrize("weight", [0.5, -1.0, 2.0, -0.25, 0.3, -1.7])
@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_keeps_the_kind_and_the_size(kind, weight, by_block, dtype):
    to = {"match": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    state = {k: t if k.endswith("alpha") else t.to(to) for k, t in KINDS[kind].items()}
    settings = Blend((1.0,), block_weights=f"blocks.0: {weight}") if by_block else Blend((weight,))
    edited = blend([state], settings=settings, output=Output(dtype=dtype))
    assert {k: (t.shape, t.dtype) for k, t in edited.lora.items()} == {
        k: (t.shape, t.dtype) for k, t in state.items()
    }
    exact = weight * of(state)
    if weight in (0.5, -1.0, 2.0, -0.25):
        assert torch.equal(of(edited.lora), exact)
    assert error(of(edited.lora), exact) <= EPS.get(dtype, EPS["fp32"])


def test_two_lokr_with_an_equal_factor_add_exactly():
    one, other = lokr(NAME, (4, 4), (8, 6), 1), lokr(NAME, (4, 4), (8, 6), 2)
    # Whole numbers: float32 rounds no sum of them.
    one, other = ({k: (8 * t).round() for k, t in state.items()} for state in (one, other))
    for role in ("w1", "w2"):
        shared = other | {f"{NAME}.lokr_{role}": one[f"{NAME}.lokr_{role}"]}
        edited = blend([one, shared], settings=Blend((0.5, -2.0)))
        assert edited.lora.keys() == one.keys()
        assert all(edited.lora[key].shape == tensor.shape for key, tensor in one.items())
        assert torch.equal(of(edited.lora), 0.5 * of(one) - 2.0 * of(shared))


def test_the_report_says_what_grew_and_why():
    one, other = lokr(NAME, (4, 4), (8, 6), 1), lokr(NAME, (4, 4), (8, 6), 2)
    both = blend([one, other]).report
    assert "LoKr: no smaller form holds the sum" in both.modules[0].note
    times = 32 * 24 / (2 * (16 + 48))
    told = (
        f"1 modules are larger than before, blocks.0.x {times:.3g} times: no smaller form of LoKr"
    )
    assert any(note.startswith(told) for note in both.notes)
    mid = lora(FLUX, (16, 12, 3, 3), 4, helpers.KOHYA, 2.0, mid=True)
    folded = convert(mid, Output(spelling="diffusers", dtype="fp32")).report
    assert any("1 modules are larger than before" in note for note in folded.notes)
    for edited in (blend([one], settings=Blend((0.5,))), blend([mid, mid]), convert(mid, Output())):
        assert not any("larger" in note for note in edited.report.notes)


@pytest.mark.parametrize("side", ["w1", "w2"])
@pytest.mark.parametrize("count", [2, 3])
def test_lokr_whose_other_factor_is_a_product_stay_products_while_that_is_smaller(count, side):
    def state(seed, shared):
        sizes = {"w1_a": (24, 2), "w1_b": (2, 20), "w2_a": (16, 2), "w2_b": (2, 14)}
        found = {
            k: randn(size, k, 0 if k.startswith(shared) else seed) for k, size in sizes.items()
        }
        return {f"{NAME}.lokr_{k}": t for k, t in found.items()} | {
            f"{NAME}.alpha": torch.tensor(1.0 + seed)
        }

    shared = {"w1": "w2", "w2": "w1"}[side]
    files, weights = [state(i, shared) for i in range(count)], (0.7, -0.4, 1.3)[:count]
    edited = blend(files, settings=Blend(weights))
    exact = sum(w * helpers.dense(one)[NAME] for w, one in zip(weights, files, strict=True))
    assert helpers.error(helpers.dense(edited.lora)[NAME], exact) < 1e-6
    stored = {key.removeprefix(f"{NAME}.lokr_"): tuple(t.shape) for key, t in edited.lora.items()}
    assert stored[f"{side}_b"][0] == 2 * count and f"{shared}_a" in stored
    assert edited.report.modules[0].rank == 4 * count
    many = [state(i, shared) for i in range(6)]  # As factors these are larger than as a matrix.
    assert side in {key.removeprefix(f"{NAME}.lokr_") for key in blend(many).lora}


@pytest.mark.parametrize("ranks", [(64,), (8, 32), (32, 8), (4, 4, 16)])
def test_auto_keeps_the_largest_of_the_ranks_layer_by_layer(ranks):
    """And one input's ranks, whatever they are."""
    files = [
        lora(f"{NAME}1", (96, 80), rank, seed=i) | lora(f"{NAME}2", (96, 80), ranks[-1 - i], seed=i)
        for i, rank in enumerate(ranks)
    ]
    edited = blend(files, settings=Blend((0.5,)))
    found = [t.shape[0] for key, t in edited.lora.items() if key.endswith("lora_A.weight")]
    assert found == [max(ranks)] * 2
    exact = sum(0.5 * changes(one)[f"{NAME}1"] for one in files)
    best = helpers.best_error(exact, max(ranks)) if len(ranks) > 1 else 0.0
    assert error(changes(edited.lora)[f"{NAME}1"], exact) == pytest.approx(best, abs=1e-5)
    if len(ranks) == 1:
        halved = {key: t * 0.5 if key.endswith("B.weight") else t for key, t in files[0].items()}
        assert same_bits(edited.lora, halved)


def parts(result, one, other) -> tuple[float, float]:
    """How much of each file is in it: the coefficients of its projection on both, times sizes."""
    basis = torch.stack([one.flatten(), other.flatten()], 1)
    found = torch.linalg.lstsq(basis, result.flatten()[:, None]).solution[:, 0]
    return float(found[0]) * float(one.norm()), float(found[1]) * float(other.norm())


@pytest.mark.parametrize("whole_file", [False, True], ids=["even", "even-file"])
@pytest.mark.parametrize("strength, left", [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)])
@pytest.mark.parametrize("times", [10.0, 100.0])
def test_no_file_drowns_the_other(times, strength, left, whole_file):
    """10 : 1 and 100 : 1 become 1 : 1 at full strength, the root of it at half."""
    names = [f"{NAME}{i}" for i in range(3)]
    one = {k: t for i, n in enumerate(names) for k, t in lora(n, (48, 40), 4, seed=(1, i)).items()}
    other = {
        k: t for i, n in enumerate(names) for k, t in lora(n, (48, 40), 4, seed=(2, i)).items()
    }
    one = {k: t * times if k.endswith("B.weight") else t for k, t in one.items()}
    settings = Blend(rank="full", balance=Even(whole_file, strength))
    edited = blend([one, other], settings=settings, compute=Compute(dtype=torch.float64))
    ours, first, second = changes(edited.lora), changes(one), changes(other)
    if whole_file:
        ours, first, second = (
            {"": torch.cat([d[n] for n in names])} for d in (ours, first, second)
        )
    for name, result in ours.items():
        strong, weak = parts(result, first[name], second[name])
        plain = first[name].norm() / second[name].norm()
        assert strong / weak == pytest.approx(float(plain) ** left, rel=1e-3)
        assert float(result.norm()) == pytest.approx(
            float((first[name] + second[name]).norm()), rel=1e-3
        )


@pytest.mark.parametrize("more", ["dora_scale", "oft_blocks"])
def test_the_rounding_of_what_needs_the_base_model_is_in_the_report(more):
    """What it changes in the weight is not known; that it rounds its tensors is."""
    if more == "oft_blocks":
        state = {f"{NAME}.oft_blocks": randn((2, 4, 4))}
    else:
        state = lora(NAME, (16, 12)) | {f"{NAME}.dora_scale": randn((16, 1))}
    (row,) = convert(state, Output(dtype="bf16")).report.modules
    assert 1e-4 < row.relative_error == row.rounding < 3 * EPS["bf16"]
    assert "the error is that of its tensors" in row.note
    assert convert(state, Output(dtype="fp32")).report.modules[0].relative_error == 0.0
