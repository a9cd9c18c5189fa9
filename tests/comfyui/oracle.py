"""What ComfyUI's own code says about LoRA keys and weights; for its Python, in its folder.

python oracle.py small ANSWER.json
    {model: [[name, weight, [dimension, start, length] or null, swapped, shape], ...]}: every
    name that ComfyUI's loader accepts for a weight, in its order, for small models of families
    that fuse, split and reorder weights, built on the meta device.
python oracle.py patched FOLDER
    For every <small model>.<name>.safetensors in FOLDER: the changes of the model's weights, as
    ComfyUI's key map, loader and patcher make them, as FOLDER/patched/<the same name>.
python oracle.py changes FOLDER
    For every <name>.safetensors in FOLDER and the weights in FOLDER/base/<name>.safetensors
    (key: a module's raw name in the file, with .bias for a bias): the weights after ComfyUI's
    loader and patcher at strength 1, minus before, as FOLDER/changes/<name>.safetensors. What
    ComfyUI logged as an error is in FOLDER/errors.json: {"<name>: <raw>": [line]}. Its names
    for the keys of FOLDER/renamed/*.safetensors are in FOLDER/renamed.json: {name: [key]}.
"""

# ruff: noqa: E402 - ComfyUI takes its settings when it is imported

import json
import logging
import sys
from pathlib import Path

sys.path[:0] = [".", str(Path(__file__).parents[1] / "key_maps")]
sys.path.append(str(Path(__file__).parents[2]))  # behind ComfyUI's own names
import comfy.cli_args

comfy.cli_args.args.cpu = True

import comfy.lora
import comfy.lora_convert
import comfy.model_management
import comfy.ops
import comfy.supported_models as models
import torch
from comfyui_models import FLUX, SD35_MEDIUM, Z_IMAGE
from safetensors.torch import load_file, save_file

# As narrow as these classes can be built; the slices of fused weights follow the width.
SMALL_MODELS = {
    "Flux": (
        "Flux",
        FLUX
        | {"guidance_embed": True, "hidden_size": 24, "num_heads": 2, "axes_dim": [4, 4, 4]}
        | {"depth": 1, "depth_single_blocks": 1, "context_in_dim": 16, "vec_in_dim": 8},
    ),
    "Z-Image": (
        "ZImage",
        Z_IMAGE
        | {"dim": 30, "n_heads": 5, "n_kv_heads": 5, "axes_dims": [2, 2, 2], "n_layers": 1}
        | {"cap_feat_dim": 16},
    ),
    "SD3": (
        "SD3",
        SD35_MEDIUM
        | {"depth": 1, "adm_in_channels": 16, "x_block_self_attn_layers": [0]}
        | {"pos_embed_max_size": 4, "num_patches": 16}
        | {
            "context_embedder_config": {
                "target": "torch.nn.Linear", "params": {"in_features": 16, "out_features": 64},
            }
        },
    ),
}  # fmt: skip


def diffusion_model(kind, settings):
    """A ComfyUI model of this class on the meta device: names and shapes, no weights."""
    found = getattr(models, kind)
    config = found(found.unet_config | settings)
    config.set_inference_dtype(torch.float32, None)
    return config.get_model({}, device="meta")


def key_map(kind, settings):
    """(ComfyUI's key map, {key: shape}) of a model."""
    model = diffusion_model(kind, settings)
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    return comfy.lora.model_lora_keys_unet(model, {}), shapes


def small_key_maps():
    return {
        name: entries(*key_map(kind, settings), "diffusion_model.")
        for name, (kind, settings) in SMALL_MODELS.items()
    }


def patched(folder):
    """The changes of a small model's weights, patched as a LoRA loader node patches them."""
    (folder / "patched").mkdir()
    maps = {name: key_map(*model) for name, model in SMALL_MODELS.items()}
    for path in sorted(folder.glob("*.safetensors")):
        found, shapes = maps[path.name.split(".")[0]]
        # A patch of a slice has (weight, offset, function) for a key, as in ModelPatcher.
        patches = {}
        for key, patch in comfy.lora.load_lora(load_file(path), found, log_missing=False).items():
            weight, offset, function = (*((key,) if isinstance(key, str) else key), None, None)[:3]
            patches.setdefault(weight, []).append((1.0, patch, 1.0, offset, function))
        answer = {
            weight: comfy.lora.calculate_weight(patch, torch.zeros(shapes[weight]), weight)
            for weight, patch in patches.items()
        }
        save_file({k: t.contiguous() for k, t in answer.items()}, folder / "patched" / path.name)


def entries(found, shapes, prefix):
    result = []
    for name, target in found.items():
        parts = (target,) if isinstance(target, str) else target
        weight, offset, function = (*parts, None, None)[:3]
        if weight in shapes:  # The map also names weights that the model has not got.
            path = weight.removeprefix(prefix)
            result.append([name, path, offset, function is not None, shapes[weight]])
    return result


def changes(folder):
    """ComfyUI's own change of weights for every file of the folder."""
    errors = {}
    (folder / "changes").mkdir()
    for path in sorted(folder.glob("*.safetensors")):
        base = load_file(folder / "base" / path.name)
        tensors = load_file(path)
        # The loader is given the raw names as its key map: what a name means is in `keys`.
        names = {name: f"{name}.weight" for name in base if not name.endswith(".bias")}
        patches = comfy.lora.load_lora(tensors, names, log_missing=False)
        answer = {}
        for key, patch in patches.items():
            name = key.removesuffix(".weight")
            weight = base[name].float()
            record = Record()
            logging.getLogger().addHandler(record)
            after = comfy.lora.calculate_weight(
                [(1.0, patch, 1.0, None, None)], weight.clone(), key
            )
            logging.getLogger().removeHandler(record)
            if record.messages:
                errors[f"{path.stem}: {name}"] = record.messages
            answer[name] = (after - weight).contiguous()
        save_file(answer, folder / "changes" / path.name)
    (folder / "errors.json").write_text(json.dumps(errors))
    renamed = {
        path.stem: sorted(comfy.lora_convert.convert_lora(load_file(path)))
        for path in (folder / "renamed").glob("*.safetensors")
    }
    (folder / "renamed.json").write_text(json.dumps(renamed))


class Record(logging.Handler):
    """Collects what ComfyUI logs: its patcher logs an error and leaves the weight as it is."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


if __name__ == "__main__":
    logging.getLogger().setLevel("ERROR")
    command, path = sys.argv[1], Path(sys.argv[2])
    with torch.no_grad():
        if command == "small":
            path.write_text(json.dumps(small_key_maps()))
        elif command == "patched":
            patched(path)
        else:
            changes(path)
