"""What the UNets of Stable Diffusion have in common: their table of names."""

from typing import Any

from .family import Family

SDXL_EXTRA = """
label_emb.0.0 = add_embedding.linear_1 | class_embedding.linear_1
label_emb.0.2 = add_embedding.linear_2 | class_embedding.linear_2
"""
PREFIXES = ("lora_unet_", "lycoris_", "", "unet.")
CONVOLUTIONS = r"(in_layers\.2|out_layers\.3|\.op|\.conv|^input_blocks\.0\.0|^out\.2)$"


def unet_family(
    *,
    levels: int,
    attention: dict[int, str],
    extra: str = "",
    residuals: int = 2,
    video: bool = False,
    **facts: Any,
) -> Family:
    """A family with the table of a UNet; `facts` are further arguments of `Family`."""
    return Family(
        table=unet_table(levels, attention, extra, residuals, video),
        prefixes=PREFIXES,
        prefix="unet.",
        convolutions=CONVOLUTIONS,
        processors=True,
        **facts,
    )


def unet_table(
    levels: int, attention: dict[int, str], extra: str, residuals: int, video: bool
) -> str:
    """The table of a Stable Diffusion UNet with so many residual blocks per level.

    `attention` maps a level to the transformer index its attentions have ("0", or "#" where there
    are several). The arithmetic is that of LDM's flat block lists: every level takes its residual
    blocks and one down-sampler going in, one residual block more going out. A model for `video`
    has a second stack of everything, over time.
    """
    resnet = {
        "in_layers.2": "conv1",
        "emb_layers.1": "time_emb_proj",
        "out_layers.3": "conv2",
        "skip_connection": "conv_shortcut",
        "in_layers.0": "norm1",
        "out_layers.0": "norm2",
    }
    lines = [
        "input_blocks.0.0 = conv_in",
        "out.0 = conv_norm_out",
        "out.2 = conv_out",
        "time_embed.0 = time_embedding.linear_1",
        "time_embed.2 = time_embedding.linear_2",
        extra,
    ]

    def residual(native: str, diffusers: str) -> None:
        for a, b in resnet.items():
            if not video:
                lines.append(f"{native}.{a} = {diffusers}.{b}")
            else:
                # ComfyUI has the names of the models that are not for video.
                lines.append(f"{native}.{a} = ?{diffusers}.spatial_res_block.{b} | {diffusers}.{b}")
                over_time = f"?{diffusers}.temporal_res_block.{b}"
                lines.append(f"{native}.time_stack.{a} = {over_time}")
        if video:
            lines.append(f"*{native}.time_mixer.mix_factor")

    def add(native: str, diffusers: tuple[str, str], index: str | None) -> None:
        residual(f"{native}.0", diffusers[0])
        if index is not None:
            transformer(f"{native}.1", diffusers[1], index)

    def transformer(native: str, diffusers: str, index: str) -> None:
        block = f"transformer_blocks.{index}"
        lines.extend(
            f"{native}.{name} = {diffusers}.{name}" for name in ("norm", "proj_in", "proj_out")
        )
        for name in ("attn1", "attn2"):
            at, their = f"{native}.{block}.{name}", f"{diffusers}.{block}.{name}"
            lines.extend(
                f"{at}.{to} = {their}.processor.{to} | {their}.{to}"
                for to in ("to_q", "to_k", "to_v")
            )
            lines.append(f"{at}.to_out.0 = {their}.processor.to_out | {their}.to_out.0")
        lines.extend(
            f"{native}.{block}.{name} = {diffusers}.{block}.{name}"
            for name in ("ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3")
        )
        if video:
            attention = ("to_q", "to_k", "to_v", "to_out.0")
            names = (
                *(f"{attn}.{name}" for attn in ("attn1", "attn2") for name in attention),
                *(f"{ff}.net.{name}" for ff in ("ff", "ff_in") for name in ("0.proj", "2")),
                *("norm1", "norm2", "norm3", "norm_in"),
            )
            lines.extend(
                f"{native}.time_stack.0.{name} = ?{diffusers}.temporal_transformer_blocks.0.{name}"
                for name in names
            )
            lines.extend(
                f"{native}.time_pos_embed.{a} = ?{diffusers}.time_pos_embed.{b}"
                for a, b in ((0, "linear_1"), (2, "linear_2"))
            )
            lines.append(f"*{native}.time_mixer.mix_factor")

    for level in range(levels):
        index = attention.get(level)
        for i in range(residuals):
            add(
                f"input_blocks.{1 + (residuals + 1) * level + i}",
                (f"down_blocks.{level}.resnets.{i}", f"down_blocks.{level}.attentions.{i}"),
                index,
            )
        if level < levels - 1:
            lines.append(
                f"input_blocks.{(residuals + 1) * (level + 1)}.0.op"
                f" = down_blocks.{level}.downsamplers.0.conv"
            )
        up = levels - 1 - level
        for i in range(residuals + 1):
            add(
                f"output_blocks.{(residuals + 1) * up + i}",
                (f"up_blocks.{up}.resnets.{i}", f"up_blocks.{up}.attentions.{i}"),
                index,
            )
        if up < levels - 1:
            slot = 1 if index is None else 2
            lines.append(
                f"output_blocks.{(residuals + 1) * up + residuals}.{slot}.conv"
                f" = up_blocks.{up}.upsamplers.0.conv"
            )
    for block, theirs in ((0, 0), (2, 1)):
        residual(f"middle_block.{block}", f"mid_block.resnets.{theirs}")
    transformer("middle_block.1", "mid_block.attentions.0", max(attention.values(), key="#".count))
    return "\n".join(lines)
