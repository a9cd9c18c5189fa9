"""LoRAs in diffusers' spelling, read by diffusers: load_in_diffusers.py ANSWER.json [MODEL ...]

{model: what is wrong, empty where nothing is}, of one model of each class unless told. A LoRA of
the first two blocks and all else is made in diffusers' names, taken through ComfyUI's and back by
`convert`, and given to the pipeline's loader and the model (on the meta device). What the loader
hands to PEFT has to be the same update, layer by layer.
"""

import json
import re
import sys
from pathlib import Path

import diffusers
import peft
import torch
from diffusers.loaders import lora_pipeline
from diffusers.utils import logging

sys.path.insert(0, str(Path(__file__).parents[2]))
from core import LoraError, Output, convert
from tests.audit import family_of
from tests.key_maps.diffusers_models import MODELS

LINEAR = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)
# The loader of a model that is not called like it.
LOADERS = {
    "ChromaTransformer2DModel": "Flux", "LongCatImageTransformer2DModel": "Flux",
    "MochiTransformer3DModel": "Mochi1", "LTX2VideoTransformer3DModel": "LTX2",
    "Kandinsky5Transformer3DModel": "Kandinsky", "WanVACETransformer3DModel": "Wan",
    "WanAnimateTransformer3DModel": "Wan",
}  # fmt: skip
# Layers that diffusers calls otherwise than in the other models of the family.
ELSEWHERE = {"LongCat-Image": "time_text_embed|time_embed", "LTX-2.3": "caption_projection"}


def loader_of(model: str, kind: str) -> type | None:
    if kind.startswith("UNet2D"):
        name = "StableDiffusion" if model in ("SD1.5", "SD2") else "StableDiffusionXL"
    else:
        name = LOADERS.get(kind) or re.sub(r"(Video)?Transformer\dDModel$", r"\1", kind)
    name = "Anima" if model == "Anima" else name
    return getattr(lora_pipeline, f"{name}LoraLoaderMixin", None)


def file_for(network: torch.nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    generator, tensors = torch.Generator().manual_seed(0), {}
    for name, layer in network.named_modules():
        block = re.match(r"\w*(?:blocks|layers|refiner)\.(\d+)\.", name)
        if not isinstance(layer, LINEAR) or (block and int(block[1]) > 1):
            continue
        rows, columns, *kernel = layer.weight.shape
        down, up = (2, columns, *kernel), (rows, 2, *(1 for _ in kernel))
        tensors[f"{prefix}{name}.lora_A.weight"] = torch.randn(down, generator=generator)
        tensors[f"{prefix}{name}.lora_B.weight"] = torch.randn(up, generator=generator)
    return tensors


def read(loader: type, network: torch.nn.Module, tensors: dict) -> dict[str, torch.Tensor]:
    """What diffusers gives to PEFT, by layer and factor."""
    unet = isinstance(network, diffusers.UNet2DConditionModel)
    given = {"unet_config": network.config} if unet else {}
    found = loader.lora_state_dict(dict(tensors), **given)
    state, alphas = found[:2] if isinstance(found, tuple) else (found, None)
    seen: dict[str, torch.Tensor] = {}
    original = peft.set_peft_model_state_dict

    def spy(model, state_dict, *arguments, **options):
        seen.update(state_dict)
        result = original(model, state_dict, *arguments, **options)
        if result is not None and result.unexpected_keys:
            raise ValueError(f"unexpected {result.unexpected_keys[:3]}")
        return result

    peft.set_peft_model_state_dict = spy
    try:
        network.load_lora_adapter(
            dict(state),
            network_alphas=alphas,
            prefix="unet" if unet else "transformer",
            adapter_name="x",
            low_cpu_mem_usage=True,
        )
    finally:
        peft.set_peft_model_state_dict = original
    layers = dict(network.named_modules())
    for name in [key.removesuffix(".lora_B.weight") for key in seen if "lora_B.weight" in key]:
        seen[f"{name}.lora_B.weight"] = seen[f"{name}.lora_B.weight"] * layers[name].scaling["x"]
    return seen


def wrong(model: str, kind: str, settings: dict) -> str:
    loader, family = loader_of(model, kind), family_of(model)
    if loader is None or kind not in family.diffusers_models:
        return ""
    with torch.device("meta"):
        network = getattr(diffusers, kind)(**settings)
    skipped = ELSEWHERE.get(model, "$-")
    made = {k: t for k, t in file_for(network, family.prefix).items() if not re.search(skipped, k)}
    try:
        there = convert(
            convert(made, Output(spelling="generic")).lora, Output(spelling="diffusers")
        )
        seen = read(loader, network, there.lora)
    except (LoraError, ValueError, KeyError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    for key in made:
        name = key.removeprefix(family.prefix).removesuffix(".lora_A.weight")
        if not key.endswith(".lora_A.weight"):
            continue
        if f"{name}.lora_A.weight" not in seen:
            return f"{name} is not read"
        up, down = (seen[f"{name}.lora_{side}.weight"].flatten(1) for side in "BA")
        old_up, old_down = (made[key.replace("_A.", f"_{side}.")].flatten(1) for side in "BA")
        probe = torch.randn(down.shape[1], generator=torch.Generator().manual_seed(1))
        if not torch.allclose(up @ (down @ probe), old_up @ (old_down @ probe), 1e-3, 1e-3):
            return f"{name} is another update"
    extra = [key for key in seen if f"{family.prefix}{key}" not in made]
    return f"{extra[0]} is too many" if extra else ""


if __name__ == "__main__":
    logging.set_verbosity_error()
    one_of_each = {kind: model for model, (kind, _) in reversed(MODELS.items())}
    chosen = sys.argv[2:] or list(one_of_each.values())
    answer = {model: wrong(model, *MODELS[model]) for model in chosen}
    Path(sys.argv[1]).write_text(json.dumps(answer, indent=1))
