"""A model's weights under the names that LoRAs have for them, whatever its files look like.

Also of model_files.py, numbers.py, difference.py: layouts, shards, fp8, and what is refused; what
two models differ in is in edits/test_extract.py.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from core import BaseModel, FileError, LoraError
from core.naming.spelling import resolve
from core.storage.dtypes import TensorInfo
from core.storage.files import Tensors
from tests import audit
from tests.comfyui.models import clip_l, flux, sd15_unet
from tests.helpers import lora, randn
from tests.key_maps import DIFFUSERS, DIFFUSION_MODELS, load, models
from tests.marks import one_in

# Where ComfyUI's loader has other rows than the models themselves: their heads and feed-forward
# parts are of other sizes than it takes them for.
OTHER_ROWS = {
    "Flux.2": "proj_mlp", "Ovis-Image": "proj_mlp", "Lumina 2": "to_", "NewBie": "to_",
}  # fmt: skip
# diffusers' names of it are also those of a larger family, and nothing but shapes tells.
TIED = {"Cosmos 1 14B"}


class Named(Tensors):
    """Names and shapes without numbers."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        info = {key: TensorInfo("bfloat16", shape) for key, shape in shapes.items()}
        super().__init__("named", None, info, {})


@pytest.mark.slow
@pytest.mark.parametrize("model", models(DIFFUSION_MODELS))
def test_every_name_of_a_lora_finds_its_rows_in_either_layout(model):
    entries = load(DIFFUSION_MODELS, model)
    family = audit.family_of(model).name
    prefix = "model.diffusion_model."
    bases = {"native": BaseModel(Named({e.key: e.whole for e in entries}))}
    bases["checkpoint"] = BaseModel(Named({prefix + e.key: e.whole for e in entries}))
    if model in set(models(DIFFUSERS)) - TIED:
        theirs = load(DIFFUSERS, model)
        bases["diffusers"] = BaseModel(Named({e.key: e.whole for e in theirs}))
        own = {e.weight for e in theirs} & {e.weight for e in entries}
        assert bases["diffusers"].diffusers or len(own) > len(theirs) / 4
    assert not bases["native"].diffusers and not bases["checkpoint"].diffusers
    for layout, base in bases.items():
        assert base.family.name == family, layout
        for e in entries:
            name = resolve(e.raw, base.family, e.shape)
            found = base.shape(name, "bias" if e.bias else "weight")
            # diffusers' models lack a few layers, and keep a few norms in other sizes.
            assert found is not None or layout == "diffusers", e
            known = OTHER_ROWS.get(family, "no such name") in e.raw or "query_norm" in e.raw
            assert found in (None, e.shape) or known or "key_norm" in e.raw, (layout, e)


def weights_of(base: BaseModel) -> dict[tuple[str, str], torch.Tensor]:
    return {key: base.weight(base.name_of(key), key[1]) for key in base.weights}


def as_diffusers(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Flux in diffusers' layout: its fused weights in parts, scale before shift."""
    table = BaseModel(weights).family
    result = {}
    for key, tensor in weights.items():
        module, _, last = key.rpartition(".")
        last = "weight" if last == "scale" else last
        match, numbers = table.find(module.replace(".", "_"))
        row = match.row
        names = [name.replace("#", numbers[0]) if numbers else name for name in row.diffusers]
        if row.mark:
            tensor = tensor.roll(len(tensor) // 2, 0)
        width = weights[f"{module}.weight"].shape[1] if len(names) > 1 else 0
        sizes = [*[width] * 3, len(tensor) - 3 * width][: len(names)]
        parts = tensor.split(sizes) if len(names) > 1 else [tensor]
        result |= {f"{name}.{last}": part.clone() for name, part in zip(names, parts, strict=True)}
    return result


@pytest.mark.slow
def test_both_layouts_of_a_model_hold_the_same_weights():
    native = flux(double=1, single=1)
    base, other = BaseModel(native), BaseModel(as_diffusers(native))
    assert (base.diffusers, other.diffusers) == (False, True)
    ours, theirs = weights_of(base), weights_of(other)
    assert len(ours) == len(native) and ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for (_, pieces), weight in zip(base.weights.items(), ours.values(), strict=True):
        assert torch.equal(weight, native[pieces[0].key])
    for raw in ("transformer_blocks.0.attn.to_k", "single_transformer_blocks.0.proj_mlp"):
        name = resolve(raw, base.family, (128, 128))
        assert torch.equal(base.weight(name), other.weight(name)) and not name.whole
        assert torch.equal(base.weight(name, "bias"), other.weight(name, "bias"))


@pytest.mark.slow
def test_a_checkpoint_has_its_text_encoders_and_not_its_vae():
    text = {k: v for k, v in clip_l().items() if ".layers.0." in k}
    unet = {f"model.diffusion_model.{k}": v for k, v in sd15_unet().items()}
    front = "cond_stage_model.transformer."
    base = BaseModel(
        unet
        | {front + k: v for k, v in text.items()}
        | {"first_stage_model.decoder.conv_in.weight": torch.ones(4, 4), "alphas": torch.ones(3)}
    )
    assert len(base.weights) == len(unet) + len(text)
    name = resolve("lora_te_text_model_encoder_layers_0_mlp_fc1", base.family)
    assert torch.equal(
        base.weight(name), text["text_model.encoder.layers.0.mlp.fc1.weight"].float()
    )


def test_open_clip_is_read_as_the_clip_that_loras_are_for():
    block = "conditioner.embedders.1.model.transformer.resblocks.3."
    fused = randn((3 * 1280, 1280), "fused")
    base = BaseModel(
        {
            "model.diffusion_model.input_blocks.0.0.weight": torch.ones(320, 4, 3, 3),
            f"{block}attn.in_proj_weight": fused,
            f"{block}attn.in_proj_bias": fused[:, 0].clone(),
            f"{block}mlp.c_fc.weight": torch.ones(5120, 1280),
        }
    )
    for index, part in enumerate("qkv"):
        raw = f"lora_te2_text_model_encoder_layers_3_self_attn_{part}_proj"
        name = resolve(raw, base.family)
        rows = fused[1280 * index : 1280 * (index + 1)]
        assert torch.equal(base.weight(name), rows)
        assert torch.equal(base.weight(name, "bias"), rows[:, 0])
    assert resolve("lora_te2_text_model_encoder_layers_3_mlp_fc1", base.family) in base


def test_nothing_is_read_that_is_not_asked_for():
    asked = []

    class Watched(Named):
        def __getitem__(self, key: str) -> torch.Tensor:
            asked.append(key)
            return torch.ones(self.info[key].shape)

    shapes = {f"double_blocks.{n}.img_attn.qkv.weight": (24, 8) for n in range(3)}
    base = BaseModel(Watched(shapes))
    base.weight(resolve("transformer_blocks.1.attn.to_v", base.family))
    assert asked == ["double_blocks.1.img_attn.qkv.weight"]


# -- files ----------------------------------------------------------------------------------------

BLOCK = "double_blocks.{}.img_attn.proj.weight"


def block(number: int) -> dict[str, torch.Tensor]:
    return {BLOCK.format(number): randn((8, 8), number)}


def sharded(folder, names=("a-00001-of-00002", "a-00002-of-00002")) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        save_file(block(number), folder / f"{name}.safetensors")


def index(folder, **weight_map) -> None:
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "a.safetensors.index.json").write_text(text)


def test_a_model_of_several_files_is_one(tmp_path):
    sharded(tmp_path / "pipe" / "transformer")
    (tmp_path / "pipe" / "text_encoder").mkdir()
    encoder = {"text_model.encoder.layers.0.mlp.fc1.weight": torch.ones(8, 8)}
    save_file(encoder, tmp_path / "pipe" / "text_encoder" / "model.safetensors")
    folder = tmp_path / "pipe" / "transformer"
    for source in (tmp_path / "pipe", folder, tmp_path / "pipe"):
        base = BaseModel(source)
        assert len(base.weights) == (2 if source == folder else 3), source
    (folder / "b.safetensors").write_bytes(b"not looked at")
    index(folder, **{BLOCK.format(0): "a-00001-of-00002.safetensors"})
    for source in (folder, folder / "a.safetensors.index.json"):
        base = BaseModel(source)
        assert [file.name for file in base.files] == ["a-00001-of-00002.safetensors"]
        assert torch.equal(base.weight(base.name_of(next(iter(base.weights)))), *block(0).values())


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (lambda f: (f / "a-00002-of-00002.safetensors").unlink(), "1 of its 2 numbered files"),
        (lambda f: index(f, x="../other.safetensors"), "a file in another folder"),
        (lambda f: index(f, **{BLOCK.format(0): "a-00003.safetensors"}), "no such file"),
        (lambda f: index(f, **{BLOCK.format(9): "a-00001-of-00002.safetensors"}), "is not in a-0"),
        (lambda f: (f / "a.safetensors.index.json").write_text("[]"), "is no index"),
        (lambda f: (shutil.rmtree(f), f.mkdir()), "no .safetensors file in this folder"),
        (
            lambda f: (shutil.rmtree(f), f.mkdir(), (f / "model.gguf").write_bytes(b"GGUF")),
            "GGUF files are quantised",
        ),
        (lambda f: (shutil.rmtree(f), sharded(f, ("x", "y"))), "holds several models (x.safet"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_by_name(tmp_path, broken, problem):
    folder = tmp_path / "model"
    sharded(folder)
    broken(folder)
    with pytest.raises(LoraError) as caught:
        BaseModel(folder)
    assert problem in str(caught.value)


def test_fp8_is_what_its_scales_make_of_it():
    raw, exact = "double_blocks.0.img_attn.proj", randn((8, 8), "fp8") * 3
    for end, scale in (
        (".scale_weight", torch.tensor(0.01)),
        (".weight_scale", exact.abs().amax(1)),
    ):
        column = scale if scale.ndim == 0 else scale[:, None]
        stored = (exact / column).to(torch.float8_e4m3fn)
        tensors = {f"{raw}.weight": stored, raw + end: scale, "scaled_fp8": torch.empty(0)}
        base = BaseModel(tensors)
        (key,) = base.weights
        assert torch.equal(base.weight(base.name_of(key)), stored.float() * column)
        del tensors[raw + end]
        with pytest.raises(FileError, match="is scaled fp8 without its scale"):
            BaseModel(tensors).weight(base.name_of(key))
    plain = BaseModel({f"{raw}.weight": exact.to(torch.float8_e5m2)})
    assert torch.equal(plain.weight(plain.name_of(key)), exact.to(torch.float8_e5m2).float())


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        (lora("transformer.x"), "is a LoRA, not a model"),
        ({"first_stage_model.x.weight": torch.ones(2, 2)}, "no weights of a model in it"),
        ({"x.qweight": torch.ones(2, 2, dtype=torch.int32)}, "4 bits"),
        ({"x.weight.absmax": torch.ones(2), "x.weight": torch.ones(2, 2)}, "bitsandbytes"),
        ({"x.weight_scale_2": torch.ones(2), "x.weight": torch.ones(2, 2)}, "NVFP4"),
    ],
)
def test_what_is_no_model_that_can_be_read_is_refused(tensors, problem):
    with pytest.raises(FileError, match=problem):
        BaseModel(tensors)


def test_whole_numbers_are_refused_where_they_are_read(tmp_path):
    base = BaseModel({"double_blocks.0.img_attn.proj.weight": torch.ones(8, 8, dtype=torch.int8)})
    with pytest.raises(FileError, match="is int8: quantised"):
        base.weight(base.name_of(next(iter(base.weights))))
    with pytest.raises(FileError, match="GGUF files are quantised"):
        BaseModel(tmp_path / "flux1-dev-Q8_0.gguf")


@pytest.mark.parametrize("raw", one_in(2, ["img_in", "double_blocks.7.img_attn.proj"]))
def test_a_weight_that_the_model_lacks_is_named(raw):
    base = BaseModel({"double_blocks.0.img_attn.proj.weight": torch.ones(8, 8)})
    with pytest.raises(FileError, match=f"has no weight {raw}"):
        base.weight(resolve(raw, base.family))
