"""ComfyUI's own key maps; for its Python, in its folder: ask_comfyui.py ANSWER.json [MODEL ...]

{"diffusion_models": {model: [[name, weight, slice, swapped, shape], ...]}, "text_encoders": {...},
"classes": [...], "failed": {...}}: every name that its LoRA loader accepts for a weight, in its
order, with the piece [dimension, start, length] of the weight that is meant or null, and whether
the halves of the rows are swapped.
"""

# ruff: noqa: E402 - ComfyUI takes its settings when it is imported

import inspect
import json
import logging
import sys
from importlib import import_module
from pathlib import Path

sys.path[:0] = [".", str(Path(__file__).parent)]
sys.path.append(str(Path(__file__).parents[2]))  # behind ComfyUI's own names
import comfy.cli_args

comfy.cli_args.args.cpu = True

import comfy.ldm.audio.embedders
import comfy.lora
import comfy.supported_models
import torch
from comfyui_models import MODELS, TEXT_ENCODERS

META = torch.device("meta")
# Its own weights are wanted when a model is built, for a part that is not in the diffusion model.
comfy.ldm.audio.embedders.NumberConditioner.load_state_dict = lambda self, weights: None


def diffusion_model(kind, settings):
    """A ComfyUI model of this class on the meta device: names and shapes, no weights."""
    found = getattr(comfy.supported_models, kind)
    config = found(found.unet_config | settings)
    config.set_inference_dtype(torch.float32, None)
    # This one looks into the device's memory while it is built.
    return config.get_model({}, device="cpu" if kind == "ACEStep15" else "meta")


def text_encoder(module, name, settings):
    found = getattr(import_module(module), name)
    if not inspect.isclass(found):
        found = found(**settings)
    return found(device=META, dtype=torch.float32)


def entries(model, found, prefix):
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    result = []
    for name, target in found.items():
        parts = (target,) if isinstance(target, str) else target
        weight, offset, function = (*parts, None, None)[:3]
        if weight in shapes:  # The map also names weights that the model has not got.
            path = weight.removeprefix(prefix)
            result.append([name, path, offset, function is not None, shapes[weight]])
    return result


def answer(wanted=()):
    result = {"diffusion_models": {}, "text_encoders": {}, "failed": {}}
    result["classes"] = [found.__name__ for found in comfy.supported_models.models]
    for group, table, make, keys, prefix in (
        ("diffusion_models", MODELS, diffusion_model, comfy.lora.model_lora_keys_unet,
         "diffusion_model."),
        ("text_encoders", TEXT_ENCODERS, text_encoder, comfy.lora.model_lora_keys_clip, ""),
    ):  # fmt: skip
        for name, arguments in table.items():
            if wanted and name not in wanted:
                continue
            # Older versions know fewer models, or models with fewer settings.
            try:
                model = make(*arguments)
            except Exception as error:
                result["failed"][f"{group}: {name}"] = repr(error)
                continue
            result[group][name] = entries(model, keys(model, {}), prefix)
    return result


if __name__ == "__main__":
    logging.getLogger().setLevel("ERROR")
    with torch.no_grad():
        Path(sys.argv[1]).write_text(json.dumps(answer(sys.argv[2:])))
