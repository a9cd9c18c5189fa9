"""The weights of diffusers' models; for a Python with diffusers: ask_diffusers.py ANSWER.json

{"diffusers": {model: [[name, key, null, false, shape], ...]}, "failed": {...},
 "rows": {model: [[name, weight, first row, rows, swapped], ...]}}

`rows` are those of ComfyUI's weight that a layer of diffusers is made of, as diffusers' own
converters of checkpoints make it (loaders/single_file_utils.py): each of the weights given to them
holds its own number and those of its rows.
"""

import json
import re
import sys
from pathlib import Path

import diffusers
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.key_maps import DIFFUSION_MODELS, load
from tests.key_maps.diffusers_models import MODELS

# What the original checkpoint calls a layer and ComfyUI does not.
ORIGINAL = {
    "HunyuanVideo": (
        (r"((?:img|txt|self)_attn)\.(proj|qkv)", r"\1_\2"),
        (r"((?:img|txt)_attn)\.norm\.(query|key)_norm", lambda m: f"{m[1]}_{m[2][0]}_norm"),
        (r"mlp\.0\.", "mlp.fc1."),
        (r"mlp\.2\.", "mlp.fc2."),
        (r"((?:_mod|modulation)\.lin)\.", r"\1ear."),
        (r"((?:time|guidance|vector)_in)\.in_layer", r"\1.in_layer"),
    ),
    "Flux": ((r"_norm\.weight", "_norm.scale"),),
    "Chroma": ((r"(_norm|norms\.\d+)\.weight", r"\1.scale"),),
}


def answer() -> dict:
    result: dict = {"diffusers": {}, "failed": {}, "rows": {}}
    for name, (kind, settings) in MODELS.items():
        try:
            with torch.device("meta"):
                model = getattr(diffusers, kind)(**settings)
        except Exception as error:
            result["failed"][name] = repr(error)
            continue
        result["diffusers"][name] = [
            [key.removesuffix(".weight"), key, None, False, list(tensor.shape)]
            for key, tensor in model.state_dict().items()
        ]
        try:
            result["rows"][name] = rows(name, kind, dict(model.config))
        except Exception as error:
            result["failed"][f"rows of {name}"] = repr(error)
    return result


def rows(name: str, kind: str, config: dict) -> list:
    converter = SINGLE_FILE_LOADABLE_CLASSES.get(kind, {}).get("checkpoint_mapping_fn")
    if converter is None:
        return []
    checkpoint, weights = {}, []
    for entry in load(DIFFUSION_MODELS, name):
        if entry.raw != f"diffusion_model.{entry.weight}":
            continue
        key, height = entry.key, entry.whole[0] if entry.whole else 1
        for pattern, replacement in ORIGINAL.get(name.split()[0], ()):
            key = re.sub(pattern, replacement, key)
        number = torch.full((height,), float(len(weights)), dtype=torch.float64)
        index = torch.arange(height, dtype=torch.float64)
        kernel = [1] * (len(entry.whole) - 2)
        checkpoint[key] = torch.stack([number, index], 1).reshape(height, 2, *kernel)
        if len(entry.whole) == 1:
            checkpoint[key] = index
        weights.append(entry.weight)
        # Some converters want every bias, others refuse those that their model lacks.
        if key.endswith(".weight") and wants_biases(name):
            checkpoint.setdefault(key.removesuffix("weight") + "bias", index)
    if kind.startswith("UNet"):
        checkpoint = {f"model.diffusion_model.{key}": t for key, t in checkpoint.items()}
    result = []
    for key, tensor in converter(checkpoint=checkpoint, config=config).items():
        if key.endswith(".weight") and tensor.ndim > 1:
            number, index = tensor.flatten(1).T.long()
            first, height = int(index.min()), len(index)
            swapped = int(index[0]) != first
            expected = torch.arange(first, first + height)
            if swapped:
                expected = expected.roll(height // 2)
            if len(number.unique()) > 1 or not torch.equal(index, expected):
                raise ValueError(f"{key} is made of {number.unique()}, {index}")
            weight = weights[int(number[0])]
            result.append([key.removesuffix(".weight"), weight, first, height, swapped])
    return result


def wants_biases(name: str) -> bool:
    return name.startswith(
        ("SD", "SSD", "Segmind", "KOALA", "AuraFlow", "Flux", "Mochi", "Chroma", "HunyuanVideo")
    ) and not name.startswith("Flux.2")


if __name__ == "__main__":
    with torch.no_grad():
        Path(sys.argv[1]).write_text(json.dumps(answer()))
