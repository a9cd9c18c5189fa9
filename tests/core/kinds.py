"""Files of every kind for the tests: those that the trainers wrote, and small random ones."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from core import Compute, Dense, Lora, Reading
from tests.helpers import lora, randn

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


def changes(
    source,
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> dict[str, torch.Tensor]:
    """Our dW of every module, in float64: raw name (with .bias for a bias) -> tensor."""
    result = {}
    for module in Lora(source, reading=reading).modules.values():
        update = module.update(CPU, torch.float64)
        dense = update.values if isinstance(update, Dense) else update.dense()
        suffix = ".bias" if module.parameter == "bias" else ""
        result[module.raw + suffix] = dense.reshape(update.shape)
    return result


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


def glora(raw, out, inner, rank):
    shapes = {"a1": (rank, inner), "a2": (inner, rank), "b1": (out, rank), "b2": (rank, inner)}
    return {f"{raw}.{name}.weight": randn(shape, name) for name, shape in shapes.items()}


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
