"""Real models, made small: what diffusers trains and saves, through extract, apply and a base.

    python -m tests.real_models FOLDER      (needs diffusers and peft; half a minute)

A tiny Flux and a tiny SDXL UNet of diffusers are trained for some steps and saved by diffusers, in
two shards. Their DoRA, trained and merged by PEFT, is the second oracle. Prints one line a check:
the relative distance from diffusers' own weights in float64, and what it has to be below.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file
from torch import nn

import core

EXACT = core.Compute(dtype=torch.float64)


def flux() -> nn.Module:
    return FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=32,
        num_attention_heads=2, joint_attention_dim=48, pooled_projection_dim=40,
        axes_dims_rope=(8, 12, 12), guidance_embeds=True,
    )  # fmt: skip


def sdxl() -> nn.Module:
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64, 64), layers_per_block=2, norm_num_groups=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=48, transformer_layers_per_block=(1, 2, 4),
        attention_head_dim=(2, 4, 4),
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
    )  # fmt: skip


def answer(model: nn.Module, seed: int) -> torch.Tensor:
    """What the model makes of some random input."""
    torch.manual_seed(seed)
    if isinstance(model, FluxTransformer2DModel):
        return model(
            hidden_states=torch.randn(2, 16, 16), encoder_hidden_states=torch.randn(2, 6, 48),
            pooled_projections=torch.randn(2, 40), timestep=torch.rand(2), guidance=torch.ones(2),
            img_ids=torch.rand(16, 3), txt_ids=torch.zeros(6, 3), return_dict=False,
        )[0]  # fmt: skip
    more = {"text_embeds": torch.randn(2, 32), "time_ids": torch.rand(2, 6)}
    return model(torch.randn(2, 4, 8, 8), 10, torch.randn(2, 6, 48), added_cond_kwargs=more,
                 return_dict=False)[0]  # fmt: skip


def train(model: nn.Module, steps: int = 20) -> None:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=2e-3)
    for step in range(steps):
        loss = (answer(model, step) - 1.0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Of two state dicts as one vector each, relative to the second."""
    assert one.keys() == other.keys()
    apart = sum(float((one[k].double() - other[k].double()).square().sum()) for k in other)
    return (apart / sum(float(t.double().square().sum()) for t in other.values())) ** 0.5


def change(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: one[key].double() - other[key].double() for key in other}


def checks(name: str, make: type, folder: Path) -> Iterator[tuple[str, float, float]]:
    torch.manual_seed(0)
    model = make()
    before = {k: t.clone() for k, t in model.state_dict().items()}
    model.save_pretrained(folder / name / "base", max_shard_size="400KB")
    train(model)
    after = {k: t.clone() for k, t in model.state_dict().items()}
    model.save_pretrained(folder / name / "tuned", max_shard_size="400KB")
    base, tuned = (core.BaseModel(folder / name / which) for which in ("base", "tuned"))
    yield f"{base.family.name}: weights not read", len(before) - len(base.tensors.info), 1
    extracted = core.extract(tuned, base, "full", vectors=True, compute=EXACT)
    again = core.apply(base, extracted.lora, compute=EXACT).lora
    moved = distance(change(again, before), change(after, before))
    yield "base + extracted at full rank: the tuned model", moved, 1e-6
    for spelling in core.SPELLING_CHOICES[:4]:
        output = core.Output(dtype="fp32", spelling=spelling)
        cut = core.extract(tuned, base, 8, output=output)
        applied = core.apply(base, cut.lora, compute=EXACT).lora
        matrices = [k for k, t in before.items() if t.ndim > 1]
        exact = {k: after[k].double() - before[k].double() for k in matrices}
        ours = {k: applied[k].double() - before[k].double() for k in matrices}
        lost = distance(ours, exact)
        yield (
            f"rank 8, {spelling}: error beside the reported one",
            abs(lost - cut.report.relative_error),
            2e-3,
        )
    torch.manual_seed(0)
    model = make()
    config = LoraConfig(r=4, lora_alpha=4, use_dora=True, target_modules=[
        "to_q", "to_k", "to_v", "to_out.0", "proj_mlp", "conv1"])  # fmt: skip
    inject_adapter_in_model(config, model)
    for key, weight in model.named_parameters():
        weight.requires_grad_("lora_" in key)
    train(model, 40)
    prefix = "transformer." if name == "flux" else "unet."
    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(model))
    dora = folder / f"{name}_dora.safetensors"
    save_file({prefix + key: tensor.contiguous() for key, tensor in state.items()}, dora)
    model.double()
    for module in model.modules():
        if hasattr(module, "merge") and hasattr(module, "lora_A"):
            module.merge()
    merged = {
        key.replace(".base_layer", ""): tensor
        for key, tensor in model.state_dict().items()
        if ".lora_" not in key
    }
    theirs = change(merged, before)
    ours = change(core.apply(base, dora, compute=EXACT).lora, before)
    yield "a DoRA applied: PEFT's merged model", distance(ours, theirs), 1e-5
    plain = core.convert(core.Lora(dora, base=base), core.Output(dtype="fp32", spelling="generic"))
    ours = change(core.apply(base, plain.lora, compute=EXACT).lora, before)
    yield "the DoRA baked, then applied: PEFT's merged model", distance(ours, theirs), 1e-5


def main() -> int:
    folder, wrong = Path(sys.argv[1]), 0
    for name, make in (("flux", flux), ("sdxl", sdxl)):
        for text, found, limit in checks(name, make, folder):
            wrong += not found < limit
            print(f"{name:<6} {text:<60} {found:.2e}  below {limit:g}")
    print(f"{wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
