"""Apply, against the same sums in float64."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from core import (
    BaseModel,
    Cancelled,
    Compute,
    FileError,
    LoraError,
    MismatchError,
    Output,
    SettingError,
    StateDict,
    apply,
)
from tests.core.edits.test_extract import NAME, model
from tests.core.kinds import FOLDER, NEEDS_BASE, expected
from tests.helpers import dense, error, files_in, lora, randn

PROJ = "diffusion_model.double_blocks.0.img_attn.proj"
QKV = "lora_unet_double_blocks_0_img_attn_qkv"
PART = "transformer.transformer_blocks.0.attn.to_k"


def two_loras() -> list[dict[str, torch.Tensor]]:
    """A square weight and a fused one, the fused one once as a whole and once in a part of it."""
    bias = {f"{QKV}.diff_b": randn((288,), "bias")}
    first = lora(PROJ, (96, 96), 4) | lora(QKV, (288, 96), 3, alpha=2.0) | bias
    return [first, lora(PART, (96, 96), 2, seed=1)]


def test_every_lora_is_added_to_its_rows_and_the_rest_stays_to_the_bit():
    weights, files = model(), two_loras()
    applied = apply(weights, list(map(StateDict, files)), [0.5, -2.0])
    first, second = map(dense, files)
    exact = {key: tensor.double() for key, tensor in weights.items()}
    exact[NAME] += 0.5 * first[PROJ]
    qkv = "double_blocks.0.img_attn.qkv"
    exact[f"{qkv}.weight"] += 0.5 * first[QKV]
    exact[f"{qkv}.weight"][96:192] -= 2.0 * second[PART]
    exact[f"{qkv}.bias"] += 0.5 * first[f"{QKV}.bias"].reshape(-1)
    assert applied.lora.keys() == weights.keys()
    changed = {NAME, f"{qkv}.weight", f"{qkv}.bias"}
    for key, tensor in applied.lora.items():
        assert tensor.dtype == weights[key].dtype
        assert (
            error(tensor, exact[key]) < 1e-6
            if key in changed
            else torch.equal(tensor, weights[key])
        )
    assert {row.module for row in applied.report.kept} == {
        "double_blocks.0.img_attn.proj", qkv, f"{qkv}.bias"
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(NEEDS_BASE - {"diffusers_dora"}))
def test_kinds_that_need_the_weight_are_given_it(name):
    """Two at once: the second sees what the first has made."""
    base = load_file(FOLDER / "base.safetensors")
    path = FOLDER / f"{name}.safetensors"
    once = apply(base, path).lora
    twice = apply(base, [path, path]).lora
    again = apply(once, path).lora
    for key, tensor in again.items():
        assert error(twice[key], tensor) < 1e-6, key
    if name in ("oft", "boft", "boft_rescaled", "glora", "locon_dora_in"):
        for raw, change in expected(name).items():
            path_of = raw.removeprefix("lycoris_")
            key = next(k for k in base if k.removesuffix(".weight").replace(".", "_") == path_of)
            moved = once[key].double() - base[key].double()
            assert error(moved, change.reshape(moved.shape)) < 1e-5, raw


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [
        (torch.float32, 0.0, 1e-5),
        (torch.bfloat16, 0.001, 0.3),
        (torch.float16, 0.0001, 0.1),
        (torch.float8_e4m3fn, 0.1, 1.1),
    ],
)
def test_the_dtype_stays_and_the_report_says_what_rounding_costs(dtype, least, most):
    weights = {key: t.to(dtype) if t.ndim > 1 else t for key, t in model().items()}
    update = lora(PROJ, (96, 96), 4)
    update = {key: 0.1 * t for key, t in update.items()}
    applied = apply(weights, StateDict(update))
    (row,) = applied.report.kept
    exact = weights[NAME].double() + dense(update)[PROJ]
    lost = (applied.lora[NAME].double() - exact).norm() / dense(update)[PROJ].norm()
    assert applied.lora[NAME].dtype == dtype and least <= lost <= most
    assert row.relative_error == pytest.approx(float(lost), rel=0.02, abs=1e-6)


def test_scaled_fp8_stays_scaled_and_its_scale_grows_where_it_has_to():
    exact = randn((96, 96), "w")
    for scale in (torch.tensor(1 / 64), (exact.abs().amax(1) / 448)):
        column = scale if scale.ndim == 0 else scale[:, None]
        stored = (exact / column).to(torch.float8_e4m3fn)
        module = NAME.removesuffix(".weight")
        weights = {NAME: stored, f"{module}.scale_weight": scale, "scaled_fp8": torch.empty(0)}
        before = stored.double() * column
        for size in (1e-2, 10.0):
            update = lora(PROJ, (96, 96), 4)
            update[f"{PROJ}.lora_B.weight"] *= size
            applied = apply(weights, StateDict(update)).lora
            grown = applied[f"{module}.scale_weight"]
            column = grown if grown.ndim == 0 else grown[:, None]
            after = applied[NAME].double() * column
            assert error(after, before + dense(update)[PROJ]) < 0.04
            assert applied[NAME].dtype == torch.float8_e4m3fn and grown.shape == scale.shape


def test_a_file_is_streamed_with_its_metadata_and_without_its_old_hash(tmp_path):
    path, out = tmp_path / "model.safetensors", tmp_path / "out.safetensors"
    weights = model() | {
        "alphas": torch.ones(3),
        "first_stage_model.x": torch.ones(2, dtype=torch.int64),
    }
    save_file(weights, path, {"modelspec.title": "Mine", "modelspec.hash_sha256": "0xold"})
    save_file(lora(PROJ, (96, 96), 4), tmp_path / "lora.safetensors")
    before = path.read_bytes()
    applied = apply(path, tmp_path / "lora.safetensors", output=Output(out))
    assert applied.lora == out and path.read_bytes() == before
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
        assert set(file.keys()) == set(weights)
    assert metadata["modelspec.title"] == "Mine"
    assert metadata["modelspec.hash_sha256"] not in ("0xold", None)
    recipe = json.loads(metadata["lora_alloy"])
    assert recipe["operation"] == "apply" and recipe["settings"]["model"] == "model.safetensors"
    assert [entry["name"] for entry in recipe["inputs"]] == ["lora.safetensors"]
    written = load_file(out)
    assert torch.equal(written["first_stage_model.x"], weights["first_stage_model.x"])


@pytest.mark.slow
def test_open_clip_takes_the_loras_of_its_parts():
    block = "conditioner.embedders.1.model.transformer.resblocks.0."
    weights = {
        "model.diffusion_model.input_blocks.0.0.weight": torch.ones(320, 4, 3, 3),
        f"{block}attn.in_proj_weight": randn((3 * 1280, 1280), "f"),
    }
    raw = "lora_te2_text_model_encoder_layers_0_self_attn_v_proj"
    update = lora(raw, (1280, 1280), 2)
    applied = apply(weights, StateDict(update)).lora[f"{block}attn.in_proj_weight"]
    moved = applied.double() - weights[f"{block}attn.in_proj_weight"].double()
    assert not moved[:2560].any() and error(moved[2560:], dense(update)[raw]) < 1e-5


# -- what does not fit ----------------------------------------------------------------------------


def test_what_does_not_fit_is_named_and_the_rest_is_applied():
    other = lora("diffusion_model.double_blocks.9.img_attn.proj", (96, 96), 2)
    wrong = lora("diffusion_model.single_blocks.0.linear2", (96, 96), 2)
    applied = apply(model(), StateDict(lora(PROJ, (96, 96), 4) | other | wrong))
    assert len(applied.report.kept) == 1
    dropped = applied.report.dropped
    assert "has no such weight" in dropped["state dict: double_blocks.9.img_attn.proj"]
    assert "its shape is (96, 96)" in dropped["state dict: single_blocks.0.linear2"]


def test_one_line_says_what_is_wrong_and_nothing_is_left_behind(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(model(), path)
    good = StateDict(lora(PROJ, (96, 96), 4))
    out = Output(tmp_path / "out.safetensors")
    half = {NAME: torch.ones(96, 96).half()}
    small, other = StateDict(lora(PROJ, (8, 8), 2)), StateDict(lora("x.y"))
    stop = Compute(cancelled=lambda: True)
    cases = [
        (MismatchError, "not one of its weights", (path, other), {}),
        (MismatchError, "not one of its modules fits", (path, small), {}),
        (SettingError, "2 weights for 1 LoRAs", (path, good, [1, 2]), {}),
        (SettingError, "a model keeps its dtypes", (path, good), {"output": Output(dtype="bf16")}),
        (FileError, "the output is one of the models", (path, good), {"output": Output(path)}),
        (FileError, "is a LoRA, not a model", (good, good), {}),
        (FileError, "too large for float16", (half, good, [1e9]), {}),
        (Cancelled, "nothing was written", (path, good), {"compute": stop}),
    ]
    for kind, problem, arguments, more in cases:
        with pytest.raises(kind) as caught:
            apply(*arguments, **{"output": out} | more)
        assert problem in str(caught.value) and "\n" not in str(caught.value)
        assert not isinstance(caught.value, LoraError) or caught.value.fix
    assert files_in(tmp_path) == {"model.safetensors"}
    assert len(BaseModel(path).weights) == 6
