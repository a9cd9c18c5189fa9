"""Every edit refuses what it cannot honour, says what and where, and writes nothing."""

import pytest
import torch

from core import Blend, LoraError, Output, blend, select, verify
from tests.every_edit import EDITS
from tests.helpers import KOHYA, PAIRS, files_in, flux_file, lora, lora_file, same_bits, save
from tests.marks import one_in

NAN, INF = float("nan"), float("inf")
A, B = "x.lora_A.weight", "x.lora_B.weight"


def changed(**tensors) -> dict[str, torch.Tensor]:
    result = lora_file("xy") | {key: t for key, t in tensors.items() if t is not None}
    return {key: t for key, t in result.items() if key not in tensors or t is tensors[key]}


def spoilt(key, value) -> dict[str, torch.Tensor]:
    tensors = lora_file("xy", KOHYA, alpha=2.0) if "alpha" in key else lora_file("xy")
    tensors[key] = tensors[key].clone()
    tensors[key][(0,) * tensors[key].ndim] = value
    return tensors


# What is in the file, and what the message has to name.
CONTENTS = {
    "no LoRA tensors": ({"model.weight": torch.ones(3, 3)}, "no LoRA tensors.*model.weight"),
    "up without down": (changed(**{A: None}), r"x\.lora_B.weight.*no down"),
    "down without up": (changed(**{B: None}), r"x\.lora_A.weight.*no up"),
    "ranks differ": (changed(**{A: torch.ones(3, 12)}), r"x\.lora_B.weight.*\(3, 12\).*do not fit"),
    "a vector": (changed(**{A: torch.ones(4)}), r"x\.lora_A.*must be matrices"),
    "a number": (changed(**{A: torch.tensor(1.0)}), r"x\.lora_A.*must be matrices"),
    "NaN": (spoilt(A, NAN), r"x\.lora_A\.weight.*NaN"),
    "Inf": (spoilt(B, INF), r"x\.lora_B\.weight.*Inf"),
    "minus Inf": (spoilt(B, -INF), r"x\.lora_B\.weight.*Inf"),
    "alpha is NaN": (spoilt("x.alpha", NAN), r"x\.alpha.*nan"),
    "alpha is Inf": (spoilt("x.alpha", INF), r"x\.alpha.*inf"),
    "alpha has two numbers": (
        lora_file("xy") | {"x.alpha": torch.ones(2)},
        r"x\.alpha: must hold one number",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("stored", one_in(2, ["file", "dict"]))
def test_a_broken_file_is_refused_by_name(tmp_path, content, edit, stored):
    tensors, message = CONTENTS[content]
    source = save(tensors, tmp_path / "broken.safetensors") if stored == "file" else tensors
    before = files_in(tmp_path)
    with pytest.raises(LoraError, match=message) as caught:
        EDITS[edit](source, Output(tmp_path / "out.safetensors"))
    assert ("broken.safetensors" if stored == "file" else "state dict") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("edit", EDITS)
def test_nan_is_found_in_every_dtype(edit, dtype):
    tensors = {key: t.to(dtype) for key, t in spoilt(A, NAN).items()}
    with pytest.raises(LoraError, match=r"x\.lora_A\.weight.*NaN|NaN.*x\.lora_A\.weight"):
        EDITS[edit](tensors, Output())


def test_large_numbers_whose_sum_overflows_are_no_damage():
    # 65504 * 12 * 4 is beyond fp16; every entry is fine.
    tensors = {key: torch.full_like(t, 60000).half() for key, t in lora_file("xy").items()}
    assert len(select(tensors, "*")[0].lora) == 4


def test_two_files_without_a_common_module_name_both_families(tmp_path):
    flux = save(flux_file("kohya"), tmp_path / "flux.safetensors")
    sd15 = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k"
    other = save(lora(sd15, (320, 320), pair=KOHYA, alpha=1), tmp_path / "sd.safetensors")
    before = files_in(tmp_path)
    with pytest.raises(LoraError, match="share no module") as caught:
        blend(flux, other, output=Output(tmp_path / "out.safetensors"))
    for word in ("flux.safetensors", "sd.safetensors", "Flux", "SD1.5", "different base models"):
        assert word in str(caught.value)
    assert files_in(tmp_path) == before


def test_two_halves_of_one_lora_have_no_common_module_and_are_not_refused():
    whole = flux_file("kohya")
    halves = select(whole, "double_blocks.*", Output(), Output())
    first, second = (half.lora for half in halves)
    written = blend(first, second, Blend(rank="full")).lora
    assert same_bits(written, whole)


def test_shapes_that_differ_name_the_module_and_both_files(tmp_path):
    one = save(lora("x", (16, 12)), tmp_path / "one.safetensors")
    two = save(lora("x", (16, 10)), tmp_path / "two.safetensors")
    with pytest.raises(LoraError, match=r"module x: .*\(16, 12\) in one.*\(16, 10\) in two"):
        blend(one, two, output=Output(tmp_path / "out.safetensors"))
    assert files_in(tmp_path) == {"one.safetensors", "two.safetensors"}


BASE = {
    "DoRA": {"x.dora_scale": torch.ones(16, 1)},
    "set weight": {"x.set_weight": torch.ones(16, 12)},
    "reshaped weight": {"x.reshape_weight": torch.tensor([16, 12])},
}


@pytest.mark.parametrize("kind", BASE)
def test_kinds_that_need_the_base_model_are_refused_with_the_way_out(tmp_path, kind):
    tensors = BASE[kind] | (lora("x") if kind != "set weight" else {}) | lora("y")
    path = save(tensors, tmp_path / "in.safetensors")
    out = Output(tmp_path / "out.safetensors")
    for settings in (Blend((0.5, 1.0)), Blend()):
        with pytest.raises(LoraError, match=rf"module x: is a {kind}.*layers selector"):
            blend(path, lora_file("xy", seed=1), settings, out)
    assert files_in(tmp_path) == {"in.safetensors"}
    # The way out that the message names, and carrying it through untouched.
    blend(path, lora_file("xy", seed=1), Blend(layers="-x"), out)
    kept = blend(path, lora_file("y", seed=1)).lora
    assert all(torch.equal(kept[key], tensor) for key, tensor in tensors.items() if key[0] == "x")


@pytest.mark.parametrize("shape", [(0, 12), (16, 0)])
@pytest.mark.parametrize("edit", EDITS)
def test_empty_weights_pass_through_or_are_refused_by_name(edit, shape):
    tensors = lora("x", shape, 3) | lora("y") | {"z.diff": torch.ones(0, 4)}
    try:
        EDITS[edit](tensors, Output())
    except LoraError as error:
        assert "x" in str(error)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("alpha", [None, 4.0])
def test_a_module_of_rank_zero_is_no_update(edit, alpha):
    tensors = lora("x", rank=0, pair=KOHYA, alpha=alpha) | lora("y", pair=KOHYA)
    if edit == "blend":
        result = blend(tensors, lora("y", seed=1)).lora
    else:
        result = EDITS[edit](tensors, Output())
        result = (result[0] if isinstance(result, tuple) else result).lora
    assert any(key.startswith("y") for key in result)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_every_pair_names_its_missing_half(pair):
    for index in (0, 1):
        tensors = lora("x", pair=pair) | lora("y")
        del tensors["x" + pair[index]]
        with pytest.raises(LoraError, match=f"x{pair[1 - index]}".replace(".", r"\.")):
            blend(tensors, None)


def test_verify_refuses_damage_too():
    with pytest.raises(LoraError, match=r"x\.lora_A\.weight.*NaN"):
        verify(lora_file("xy"), [spoilt(A, NAN)], [1])
