"""Train and write the two sample LoRAs that ship with the package.

Why: random matrices have a flat spectrum, so nothing learnt from them about ranks, energy or
truncation holds for real files. These two are small but trained: on one Flux-shaped diffusion
transformer with seeded random base weights, each on its own synthetic data, by flow matching.

* style_diffusers.safetensors: trained with PEFT, written by diffusers itself. Split projections,
  rank 8 everywhere, float32, no alpha.
* character_kohya.safetensors: trained and written as kohya's scripts do for Flux. Fused
  projections, ranks that differ per module, alpha below rank, bfloat16.

Both share most modules; each also has some that the other lacks.

Run: python tests/make_samples.py   (needs torch, diffusers, transformers and peft; one minute on
two CPU cores; the tests only need the files)
"""

import hashlib
import json
import math
from pathlib import Path

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save
from torch import nn
from torch.nn import Linear, functional

SAMPLES = Path(__file__).resolve().parent.parent / "core" / "samples"
SIDE, CHANNELS, WORDS, TEXT, POOLED = 8, 16, 8, 32, 32

# Full paths, because a bare "proj_out" would also name the model's last layer.
STYLE_TARGETS = (
    r".*transformer_blocks\.\d+\."
    r"(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|ff\.net\.(0\.proj|2)|proj_mlp|proj_out)"
)

# kohya name of a fused weight -> the diffusers layers that hold its rows, rank, alpha
DOUBLE = {
    "img_attn_qkv": (["attn.to_q", "attn.to_k", "attn.to_v"], 12, 6.0),
    "txt_attn_qkv": (["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"], 8, 4.0),
    "img_attn_proj": (["attn.to_out.0"], 8, 4.0),
    "img_mlp_0": (["ff.net.0.proj"], 16, 8.0),
    "img_mlp_2": (["ff.net.2"], 16, 8.0),
    "txt_mlp_0": (["ff_context.net.0.proj"], 4, 3.0),
    "txt_mlp_2": (["ff_context.net.2"], 4, 3.0),
    "img_mod_lin": (["norm1.linear"], 4, 2.0),
}
SINGLE = {
    "linear1": (["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"], 16, 8.0),
    "linear2": (["proj_out"], 10, 5.0),
    "modulation_lin": (["norm.linear"], 4, 2.0),
}


def base_model() -> FluxTransformer2DModel:
    """Flux in miniature: the real block structure, hidden size 64, always the same weights."""
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        in_channels=CHANNELS, num_layers=2, num_single_layers=4, attention_head_dim=32,
        num_attention_heads=2, joint_attention_dim=TEXT, pooled_projection_dim=POOLED,
        axes_dims_rope=(8, 12, 12),
    )  # fmt: skip
    return model.requires_grad_(False)


def positions() -> torch.Tensor:
    """[SIDE * SIDE, 2]: row and column of each image token, from -1 to 1."""
    line = torch.linspace(-1, 1, SIDE)
    return torch.cartesian_prod(line, line)


def style_images(count: int, world: torch.Generator, rng: torch.Generator):
    """Gratings whose direction and pitch the prompt tells: a texture all over the picture.

    Returns the images [count, tokens, CHANNELS] and what the prompt says [count, 3].
    """
    palette = torch.randn(2, CHANNELS, generator=world)
    angle, pitch, phase = torch.rand(3, count, generator=rng) * torch.tensor([[3.1], [4], [6.3]])
    direction = torch.stack([angle.cos(), angle.sin()], 1) * (2 + pitch)[:, None]
    wave = torch.einsum("td,cd->ct", positions(), direction) + phase[:, None]
    images = torch.stack([wave.cos(), wave.sin()], 2) @ palette
    return images, torch.stack([angle, pitch, phase], 1)


def character_images(count: int, world: torch.Generator, rng: torch.Generator):
    """One two-coloured shape on a plain ground, where and as large as the prompt tells."""
    ground, body, rim = torch.randn(3, CHANNELS, generator=world)
    place = torch.rand(count, 2, generator=rng) * 1.2 - 0.6
    size = torch.rand(count, 1, generator=rng) * 0.4 + 0.3
    distance = (positions()[None] - place[:, None]).norm(dim=2) / size
    inside, edge = torch.exp(-(distance**4)), torch.exp(-8 * (distance - 1) ** 2)
    images = ground + inside[..., None] * (body - ground) + edge[..., None] * rim
    return images, torch.cat([place, size], 1)


def sampler(images, seed: int):
    """A function count -> one training batch (clean images, text, pooled text)."""
    rng = torch.Generator().manual_seed(seed)
    embed = torch.randn(3, WORDS * TEXT + POOLED, generator=rng) / math.sqrt(3)

    def batch(count: int):
        world = torch.Generator().manual_seed(seed)  # the concept: the same in every batch
        clean, told = images(count, world, rng)
        prompt = told @ embed
        text = prompt[:, : WORDS * TEXT].reshape(count, WORDS, TEXT)
        return clean, text, prompt[:, WORDS * TEXT :]

    return batch


def flow_matching_loss(model, clean, text, pooled, rng) -> torch.Tensor:
    """Mean squared error of the predicted velocity: noise - clean, as Flux trainers use it."""
    count = len(clean)
    noise = torch.randn(clean.shape, generator=rng)
    time = torch.rand(count, generator=rng)
    mixed = torch.lerp(clean, noise, time[:, None, None])
    grid = torch.cartesian_prod(torch.zeros(1), *2 * [torch.arange(float(SIDE))])
    velocity = model(
        hidden_states=mixed, encoder_hidden_states=text, pooled_projections=pooled,
        timestep=time, img_ids=grid, txt_ids=torch.zeros(WORDS, 3), return_dict=False,
    )[0]  # fmt: skip
    return functional.mse_loss(velocity, noise - clean)


def train(model, batch, steps: int, rate: float) -> tuple[float, float]:
    """Train what requires a gradient. Returns the loss on one fixed batch, before and after."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng, held_out = torch.Generator().manual_seed(1), batch(64)

    def check() -> float:
        with torch.no_grad():
            return flow_matching_loss(model, *held_out, torch.Generator().manual_seed(2)).item()

    before = check()
    for _ in range(steps):
        loss = flow_matching_loss(model, *batch(16), rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return before, check()


def make_style(folder: Path, steps: int = 500) -> tuple[float, float]:
    """Train with PEFT, let diffusers write."""
    model = base_model()
    model.add_adapter(LoraConfig(r=8, lora_alpha=8, target_modules=STYLE_TARGETS))
    losses = train(model, sampler(style_images, seed=11), steps, rate=5e-3)
    FluxPipeline.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(model),
        transformer_lora_adapter_metadata=model.peft_config["default"].to_dict(),
        weight_name="style_diffusers.safetensors",
    )
    return losses


class FusedUpdate(nn.Module):
    """One LoRA on a fused weight, as kohya's scripts train it."""

    def __init__(self, width: int, height: int, rank: int, alpha: float):
        super().__init__()
        self.lora_down = Linear(width, rank, bias=False)
        self.lora_up = Linear(rank, height, bias=False)
        nn.init.kaiming_uniform_(self.lora_down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_up.weight)
        self.register_buffer("alpha", torch.tensor(alpha))
        self.scale = alpha / rank


class Rows(nn.Module):
    """A split layer that takes its rows of a fused update."""

    def __init__(self, layer: Linear, update: FusedUpdate, start: int):
        super().__init__()
        self.layer, self.start = layer, start
        self.shared = [update]  # in a list: the network owns the update, not each of its layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        update = self.shared[0]
        up = update.lora_up.weight[self.start : self.start + self.layer.out_features]
        return self.layer(x) + functional.linear(update.lora_down(x), up) * update.scale


def attach(block: nn.Module, paths: list[str], rank: int, alpha: float) -> FusedUpdate:
    """Put one fused update over the layers that hold the parts of a fused weight."""
    layers = [block.get_submodule(path) for path in paths]
    height = sum(layer.out_features for layer in layers)
    update, start = FusedUpdate(layers[0].in_features, height, rank, alpha), 0
    for path, layer in zip(paths, layers, strict=True):
        block.set_submodule(path, Rows(layer, update, start))
        start += layer.out_features
    return update


def kohya_metadata(tensors: dict[str, torch.Tensor], steps: int) -> dict[str, str]:
    """What kohya's scripts write beside the weights, the two hashes of the file included."""
    metadata = {
        "ss_network_module": "networks.lora_flux",
        "ss_network_dim": "16",
        "ss_network_alpha": "8.0",
        "ss_network_args": json.dumps({"train_blocks": "all"}),
        "ss_base_model_version": "flux1",
        "ss_output_name": "character_kohya",
        "ss_steps": str(steps),
        "ss_learning_rate": "0.005",
        "ss_mixed_precision": "bf16",
        "ss_seed": "0",
        "ss_tag_frequency": json.dumps({"10_blob": {"blob": 64, "plain background": 48}}),
        "modelspec.architecture": "flux-1-dev/lora",
        "modelspec.title": "character_kohya",
    }
    # kohya hashes a file that holds only the ss_* entries, and skips its header.
    blob = save(tensors, {key: text for key, text in metadata.items() if key.startswith("ss_")})
    body = blob[8 + int.from_bytes(blob[:8], "little") :]
    metadata["sshs_model_hash"] = hashlib.sha256(body).hexdigest()
    metadata["sshs_legacy_hash"] = hashlib.sha256(blob[0x100000:0x110000]).hexdigest()[:8]
    return metadata


def make_character(folder: Path, steps: int = 500) -> tuple[float, float]:
    """Train fused updates, write them under kohya's names."""
    model, updates = base_model(), nn.ModuleDict()
    for kind, blocks, table in (
        ("double", model.transformer_blocks, DOUBLE),
        ("single", model.single_transformer_blocks, SINGLE),
    ):
        for index, block in enumerate(blocks):
            for name, (paths, rank, alpha) in table.items():
                key = f"lora_unet_{kind}_blocks_{index}_{name}"
                updates[key] = attach(block, paths, rank, alpha)
    model.updates = updates
    losses = train(model, sampler(character_images, seed=22), steps, rate=5e-3)
    tensors = {key: tensor.to(torch.bfloat16) for key, tensor in updates.state_dict().items()}
    blob = save(tensors, kohya_metadata(tensors, steps))
    (folder / "character_kohya.safetensors").write_bytes(blob)
    return losses


if __name__ == "__main__":
    for make in (make_style, make_character):
        before, after = make(SAMPLES)
        print(f"{make.__name__}: loss {before:.3f} -> {after:.3f}")
