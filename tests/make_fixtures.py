"""Train one tiny adapter of every kind with the library that invented it, and write it down.

Why: what a group of tensors means is decided by the library that trains and saves it. Each file
here was trained, saved by PEFT, diffusers or LyCORIS, and stands beside what that same library says
it does to the weights.

* tests/data/adapters/base.safetensors: the weights of the toy network, by module path.
* <name>.safetensors: the adapter, as its library saves it.
* <name>.expected.safetensors: the dense change of every weight, float32; key = the module's prefix
  as it stands in the file, with ".bias" for a bias. For the kinds that depend on the base weights
  (DoRA, GLoRA, OFT, BOFT) it is the change of the base above. Its metadata say which library
  computed it and, under "comfyui", where ComfyUI reads the same file differently ("same" if not).

Run: python tests/make_fixtures.py [name ...]   (needs torch, peft, diffusers, transformers and
lycoris-lora; two minutes; the tests only need the files)
"""

import copy
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from lycoris import LycorisNetwork, create_lycoris
from lycoris.logging import logger
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import nn
from torch.nn import Conv2d, GroupNorm, LayerNorm, Linear, functional

FOLDER = Path(__file__).resolve().parent / "data" / "adapters"
LAYERS = r".*\.(conv1|conv_shortcut|to_q)"


class Toy(nn.Module):
    """A corner of a UNet: a 3x3 and a 1x1 convolution, a linear layer and both kinds of norm.

    The sizes are those at which LoKr stores each of its forms and BOFT finds its butterflies.
    """

    def __init__(self):
        super().__init__()
        resnet = nn.ModuleDict(
            {
                "norm1": GroupNorm(2, 8),
                "conv1": Conv2d(8, 40, 3, padding=1),
                "conv_shortcut": Conv2d(40, 32, 1),
            }
        )
        attention = nn.ModuleDict({"to_q": Linear(32, 40)})
        block = nn.ModuleDict({"norm1": LayerNorm(32), "attn1": attention})
        transformer = nn.ModuleDict({"transformer_blocks": nn.ModuleList([block])})
        parts = {"resnets": nn.ModuleList([resnet]), "attentions": nn.ModuleList([transformer])}
        self.down_blocks = nn.ModuleList([nn.ModuleDict(parts)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        resnet = self.down_blocks[0]["resnets"][0]
        block = self.down_blocks[0]["attentions"][0]["transformer_blocks"][0]
        x = functional.silu(resnet["conv1"](resnet["norm1"](x)))
        x = resnet["conv_shortcut"](x).flatten(2).transpose(1, 2)
        return block["attn1"]["to_q"](block["norm1"](x))


def toy() -> Toy:
    """The toy network, frozen, always with the same weights."""
    torch.manual_seed(0)
    return Toy().requires_grad_(False)


def train(model: nn.Module, weights, steps: int = 80) -> None:
    """Fit a teacher whose weights all differ, until no zero-initialised factor is zero."""
    rng = torch.Generator().manual_seed(1)
    teacher = toy()
    for weight in teacher.parameters():
        weight += 0.5 * weight.std() * torch.randn(weight.shape, generator=rng)
    optimizer = torch.optim.Adam(weights, lr=1e-2)
    for _ in range(steps):
        images = torch.randn(8, 8, 6, 6, generator=rng)
        loss = functional.mse_loss(model(images), teacher(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def response(layer: nn.Module, shape: torch.Size) -> torch.Tensor:
    """The weight that a layer's forward pass acts with, read off its answer to unit impulses."""
    _, width, *kernel = shape
    columns = width * torch.Size(kernel).numel()
    impulses = torch.eye(columns).reshape(columns, width, *kernel)
    answer = layer(impulses) - layer(torch.zeros_like(impulses))
    if kernel:  # the middle of the padded output has seen the whole kernel
        answer = answer[:, :, kernel[0] // 2, kernel[1] // 2]
    return answer.T.reshape(shape)


def check(path: str, layer: nn.Module, change: torch.Tensor) -> None:
    """What the library says it does must be what its forward pass did in training."""
    base = toy().get_submodule(path).weight
    seen = response(layer, base.shape) - base
    error = (seen - change.reshape(base.shape)).norm() / seen.norm()
    assert seen.norm() > 0.01 and error < 1e-5, f"{path}: {error:.2e} of {seen.norm():.3f}"


@torch.no_grad()
def peft_changes(model: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    """The change of every adapted layer, by PEFT's own rule, in float64."""
    changes = {}
    for path, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            exact = copy.deepcopy(layer).double()
            if getattr(layer, "use_dora", {}).get("default"):
                before = exact.get_base_layer().weight.clone()
                exact.merge()
                change = exact.get_base_layer().weight - before
            else:
                change = exact.get_delta_weight("default")
            check(path, layer, change)
            changes[prefix + path] = change
    return changes


def peft(file: Path, kind, **settings) -> dict[str, torch.Tensor]:
    """Train with PEFT and let PEFT save: base_model.model.<path>, settings not in the file."""
    model = toy()
    wrapped = get_peft_model(model, kind(target_modules=LAYERS, **settings))
    train(model, [weight for weight in model.parameters() if weight.requires_grad])
    with tempfile.TemporaryDirectory() as folder:
        wrapped.save_pretrained(folder)
        Path(folder, "adapter_model.safetensors").rename(file)
    return peft_changes(model, "base_model.model.")


def diffusers(file: Path, kind, **settings) -> dict[str, torch.Tensor]:
    """Train with PEFT and let diffusers save: unet.<path>, settings in the file's metadata."""
    model = toy()
    get_peft_model(model, kind(target_modules=LAYERS, **settings))
    train(model, [weight for weight in model.parameters() if weight.requires_grad])
    StableDiffusionPipeline.save_lora_weights(
        file.parent,
        unet_lora_layers=get_peft_model_state_dict(model),
        unet_lora_adapter_metadata=model.peft_config["default"].to_dict(),
        weight_name=file.name,
    )
    return peft_changes(model, "unet.")


@torch.no_grad()
def lycoris_change(layer):
    """Change of weight and bias by the LyCORIS module's own rule.

    get_diff_weight() counts the scale of LoHa and LoKr twice (in 4.1.3), training does not:
    for those two it is get_weight(), which check() confirms.
    """
    bias = None
    if hasattr(layer, "get_weight"):
        change = layer.get_weight(layer.shape)
    else:
        change, bias = layer.get_diff_weight()
    if getattr(layer, "wd", False):
        change = layer.apply_weight_decompose(layer.org_weight + change) - layer.org_weight
    return change, bias


def lycoris(file: Path, algo: str, rank: int, alpha: float, prefix="lycoris", **options):
    """Train with LyCORIS and let it save: <prefix>_<path with underscores>."""
    model = toy()
    paths = {f"{prefix}_{path}".replace(".", "_"): path for path, _ in model.named_modules()}
    LycorisNetwork.LORA_PREFIX = prefix
    network = create_lycoris(model, 1.0, rank, alpha, algo=algo, **options)
    network.apply_to()
    train(model, network.parameters())
    network.save_weights(str(file), torch.float32, {})
    changes = {}
    for layer in network.loras:
        change, bias = lycoris_change(layer)
        changes[layer.lora_name] = change
        if bias is not None:
            changes[f"{layer.lora_name}.bias"] = bias
        if layer.module_type not in ("layernorm", "groupnorm"):
            path = paths[layer.lora_name]
            check(path, model.get_submodule(path), change)
    return changes


SETTINGS = "ComfyUI does not read PEFT's settings: its scale is 1"
MAGNITUDE = "ComfyUI does not read lora_magnitude_vector: it applies a plain LoRA"
BASE_NORM = "ComfyUI divides by the norm of the base weight, not of the changed one"
KRON = "ComfyUI calls torch.kron on a non-contiguous w2, which fails: conv1 stays unchanged"
RESCALE = "ComfyUI does not apply rescale"
BOUND = "ComfyUI takes alpha as the bound of the norm, LyCORIS alpha times the output size"
SAME = "same"

# name -> (who trains and saves it, with which settings, how ComfyUI reads it)
FIXTURES = {
    "peft_lora": (peft, dict(kind=LoraConfig, r=4, lora_alpha=4), SAME),
    "peft_loha": (peft, dict(kind=LoHaConfig, r=2, alpha=2), SAME),
    "peft_loha_tucker": (
        peft, dict(kind=LoHaConfig, r=2, alpha=2, use_effective_conv2d=True), SAME,
    ),
    "peft_lokr": (peft, dict(kind=LoKrConfig, r=2, alpha=4, decompose_both=True), SETTINGS),
    "peft_lokr_tucker": (
        peft, dict(kind=LoKrConfig, r=2, alpha=2, use_effective_conv2d=True), KRON,
    ),
    "diffusers_rslora": (
        diffusers, dict(kind=LoraConfig, r=4, lora_alpha=4, use_rslora=True), SETTINGS,
    ),
    "diffusers_patterns": (
        diffusers,
        dict(
            kind=LoraConfig, r=4, lora_alpha=4,
            rank_pattern={"to_q": 6}, alpha_pattern={"conv1": 2},
        ),
        SETTINGS,
    ),
    "diffusers_dora": (
        diffusers, dict(kind=LoraConfig, r=4, lora_alpha=4, use_dora=True), MAGNITUDE,
    ),
    "locon": (lycoris, dict(algo="lora", rank=6, alpha=3, conv_dim=4, conv_alpha=1), SAME),
    "locon_tucker": (
        lycoris, dict(algo="lora", rank=4, alpha=2, use_tucker=True, prefix="lora_unet"), SAME,
    ),
    "locon_dora": (lycoris, dict(algo="lora", rank=4, alpha=2, dora_wd=True), BASE_NORM),
    "locon_dora_in": (
        lycoris, dict(algo="lora", rank=4, alpha=2, dora_wd=True, wd_on_output=False), SAME,
    ),
    "loha": (lycoris, dict(algo="loha", rank=3, alpha=2, prefix="lora_unet"), SAME),
    "loha_tucker": (lycoris, dict(algo="loha", rank=3, alpha=1, use_tucker=True), SAME),
    "loha_dora": (lycoris, dict(algo="loha", rank=2, alpha=1, dora_wd=True), BASE_NORM),
    "lokr": (lycoris, dict(algo="lokr", rank=2, alpha=1), SAME),
    "lokr_factored": (
        lycoris, dict(algo="lokr", rank=2, alpha=1, decompose_both=True, prefix="lora_unet"), SAME,
    ),
    "lokr_w2_whole": (
        lycoris,
        dict(algo="lokr", rank=3, alpha=1, decompose_both=True, unbalanced_factorization=True),
        SAME,
    ),
    "lokr_whole": (lycoris, dict(algo="lokr", rank=8, alpha=1, full_matrix=True), SAME),
    "lokr_tucker": (lycoris, dict(algo="lokr", rank=2, alpha=1, use_tucker=True), KRON),
    "lokr_dora": (lycoris, dict(algo="lokr", rank=2, alpha=1, dora_wd=True), BASE_NORM),
    "full": (lycoris, dict(algo="full", rank=1, alpha=1, train_norm=True), SAME),
    "glora": (lycoris, dict(algo="glora", rank=3, alpha=2), SAME),
    "oft": (lycoris, dict(algo="diag-oft", rank=4, alpha=1), SAME),
    "oft_rescaled": (lycoris, dict(algo="diag-oft", rank=4, alpha=1, rescaled=True), RESCALE),
    "oft_constrained": (lycoris, dict(algo="diag-oft", rank=4, alpha=1, constraint=0.02), BOUND),
    "boft": (lycoris, dict(algo="boft", rank=10, alpha=1), SAME),
    "boft_rescaled": (lycoris, dict(algo="boft", rank=10, alpha=1, rescaled=True), SAME),
}  # fmt: skip


def make(name: str) -> None:
    """Train one fixture; write it and what its library says it does."""
    library, settings, comfyui = FIXTURES[name]
    torch.manual_seed(2)
    changes = library(FOLDER / f"{name}.safetensors", **settings)
    changes = {key: change.detach().float().contiguous() for key, change in changes.items()}
    package = "lycoris-lora" if library is lycoris else "peft"
    notes = {"library": f"{package} {version(package)}", "comfyui": comfyui}
    save_file(changes, FOLDER / f"{name}.expected.safetensors", notes)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    logger.setLevel("ERROR")
    save_file(toy().state_dict(), FOLDER / "base.safetensors")
    for fixture in sys.argv[1:] or FIXTURES:
        make(fixture)
        print(fixture)
    for file in FOLDER.glob("*.safetensors"):
        file.chmod(0o644)
