"""Model families: which module names mean the same weight.

A family is a table. Each line is `native name = other name | other name`, where

* the native name is the path of the weight inside ComfyUI's model (what `diffusion_model.` stands
  before): it is the canonical name, used in reports and selectors;
* the first other name is what diffusers calls it, the rest are accepted when reading;
* `#` stands for a block index; `{a,b,c}` lists the parts of a fused projection in row order;
* `native[0:3] = name` names a range of the parts of a weight that another line defines;
* `~name` has the two halves of its rows swapped (diffusers' scale and shift);
* a line without `=` has one name in every spelling.

Names are compared with every separator written as an underscore, because that is all that is left
of them in kohya files. To add a family, add a table and list it in FAMILIES.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

PART_NAMES = ("q", "k", "v", "mlp")


class Row(NamedTuple):
    """One weight of a family.

    `diffusers` is the name that diffusers writes, as the templates of its parts in row order: one
    template where the weight is not fused, none where every spelling has the native name.
    """

    native: str
    diffusers: tuple[str, ...]
    swapped: bool


class Match(NamedTuple):
    """Where one name leads: to parts [first, last) of a row's weight, halves of it swapped or not.

    A weight that is not fused has one part.
    """

    row: Row
    first: int
    last: int
    swapped: bool

    @property
    def whole(self) -> bool:
        return self.last - self.first == max(len(self.row.diffusers), 1)


@dataclass(frozen=True)
class Family:
    """A model architecture, as far as the names of its weights go.

    `blocks` maps a native container to the usual number of blocks: evidence for telling families
    with the same names apart, never a limit. `prefix` is what diffusers writes before its names.
    `kohya_is_native` is False where kohya's trainer writes diffusers names after `lora_unet_`.
    """

    name: str
    table: str
    blocks: dict[str, int] = field(default_factory=dict)
    prefix: str = "transformer."
    kohya_is_native: bool = True

    @cached_property
    def names(self) -> list[tuple[str, Match]]:
        """Every name template of the table with what it means, in the order of the table."""
        rows: dict[str, Row] = {}
        result = []
        for line in self.table.strip().splitlines():
            native, _, others = (piece.strip() for piece in line.partition("="))
            native, _, span = native.partition("[")
            names = [name.strip() for name in others.split("|") if name.strip()]
            # Braces on the left make one line stand for several; on the right alone they are parts.
            natives = list(expand_braces(native))
            choices = [list(expand_braces(name)) for name in names]
            for position, native in enumerate(natives):
                ways = [[way[position]] for way in choices] if len(natives) > 1 else choices
                if span:
                    first, last = (int(number) for number in span[:-1].split(":"))
                    result += [(way[0], Match(rows[native], first, last, False)) for way in ways]
                    continue
                preferred = ways[0] if ways else []
                swapped = preferred[:1] != [] and preferred[0].startswith("~")
                row = Row(native, tuple(name.lstrip("~") for name in preferred), swapped)
                rows[native] = row
                parts = max(len(preferred), 1)
                result.append((native, Match(row, 0, parts, False)))
                for way in ways:
                    for index, name in enumerate(way):
                        span_of = (index, index + 1) if len(way) > 1 else (0, parts)
                        result.append((name.lstrip("~"), Match(row, *span_of, name[0] == "~")))
        return result

    @cached_property
    def rows(self) -> dict[str, Row]:
        """Native template -> row."""
        return {match.row.native: match.row for _, match in self.names}

    @cached_property
    def index(self) -> dict[str, list[tuple[list[str], Match]]]:
        """Flattened name with every number as # -> (its number segments, match), for look-up."""
        result: dict[str, list[tuple[list[str], Match]]] = {}
        for template, match in self.names:
            numbers, key = split_numbers(flatten(template))
            result.setdefault(key, []).append((numbers, match))
        return result

    def find(self, flat: str) -> tuple[Match, list[str]] | None:
        """The table's entry for a flattened name, with the values of its `#`, or None."""
        numbers, key = split_numbers(flat)
        for template_numbers, match in self.index.get(key, ()):
            pairs = list(zip(template_numbers, numbers, strict=True))
            if all(expected in ("#", found) for expected, found in pairs):
                return match, [found for expected, found in pairs if expected == "#"]
        return None


def flatten(name: str) -> str:
    """A dotted path with underscores for separators, as kohya files spell it."""
    return name.replace(".", "_")


def split_numbers(flat: str) -> tuple[list[str], str]:
    """The number (or `#`) segments of a flattened name, and the name with # in their place."""
    segments = flat.split("_")
    numbers = [s for s in segments if s == "#" or s.isdigit()]
    return numbers, "_".join("#" if s.isdigit() else s for s in segments)


def fill(template: str, numbers: list[str]) -> str:
    """The template with its `#` replaced by numbers, in order."""
    values = iter(numbers)
    return re.sub("#", lambda _: next(values), template)


def expand_braces(name: str) -> Iterator[str]:
    """`a.{b,c}.d` -> a.b.d, a.c.d."""
    pieces = re.split(r"\{([^}]*)\}", name)
    choices = [p.split(",") if i % 2 else [p] for i, p in enumerate(pieces)]
    return ("".join(combination) for combination in itertools.product(*choices))


def unet_table(levels: int, attention: dict[int, str], extra: str) -> str:
    """The table of a Stable Diffusion UNet with two residual blocks per level.

    `attention` maps a level to the transformer index its attentions have ("0", or "#" where there
    are several). The arithmetic is that of LDM's flat block lists: every level takes two residual
    blocks and one down-sampler going in, three residual blocks going out.
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

    def add(native: str, diffusers: tuple[str, str], index: str | None) -> None:
        lines.extend(f"{native}.0.{a} = {diffusers[0]}.{b}" for a, b in resnet.items())
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

    for level in range(levels):
        index = attention.get(level)
        for i in range(2):
            add(
                f"input_blocks.{1 + 3 * level + i}",
                (f"down_blocks.{level}.resnets.{i}", f"down_blocks.{level}.attentions.{i}"),
                index,
            )
        if level < levels - 1:
            lines.append(
                f"input_blocks.{3 * level + 3}.0.op = down_blocks.{level}.downsamplers.0.conv"
            )
        up = levels - 1 - level
        for i in range(3):
            add(
                f"output_blocks.{3 * up + i}",
                (f"up_blocks.{up}.resnets.{i}", f"up_blocks.{up}.attentions.{i}"),
                index,
            )
        if up < levels - 1:
            slot = 1 if index is None else 2
            lines.append(
                f"output_blocks.{3 * up + 2}.{slot}.conv = up_blocks.{up}.upsamplers.0.conv"
            )
    for block, theirs in ((0, 0), (2, 1)):
        lines.extend(
            f"middle_block.{block}.{a} = mid_block.resnets.{theirs}.{b}" for a, b in resnet.items()
        )
    transformer("middle_block.1", "mid_block.attentions.0", max(attention.values(), key="#".count))
    return "\n".join(lines)


FLUX = """
double_blocks.#.img_attn.qkv = transformer_blocks.#.attn.{to_q,to_k,to_v}
double_blocks.#.img_attn.proj = transformer_blocks.#.attn.to_out.0
double_blocks.#.img_mlp.0 = transformer_blocks.#.ff.net.0.proj | transformer_blocks.#.ff.linear_in
double_blocks.#.img_mlp.2 = transformer_blocks.#.ff.net.2 | transformer_blocks.#.ff.linear_out
double_blocks.#.img_mod.lin = transformer_blocks.#.norm1.linear
double_blocks.#.img_attn.norm.query_norm = transformer_blocks.#.attn.norm_q
double_blocks.#.img_attn.norm.key_norm = transformer_blocks.#.attn.norm_k
double_blocks.#.txt_attn.qkv = transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj}
double_blocks.#.txt_attn.proj = transformer_blocks.#.attn.to_add_out
double_blocks.#.txt_mlp.0 = transformer_blocks.#.ff_context.net.0.proj | transformer_blocks.#.ff_context.linear_in
double_blocks.#.txt_mlp.2 = transformer_blocks.#.ff_context.net.2 | transformer_blocks.#.ff_context.linear_out
double_blocks.#.txt_mod.lin = transformer_blocks.#.norm1_context.linear
double_blocks.#.txt_attn.norm.query_norm = transformer_blocks.#.attn.norm_added_q
double_blocks.#.txt_attn.norm.key_norm = transformer_blocks.#.attn.norm_added_k
single_blocks.#.linear1 = single_transformer_blocks.#.{attn.to_q,attn.to_k,attn.to_v,proj_mlp} | single_transformer_blocks.#.attn.to_qkv_mlp_proj
single_blocks.#.linear1[0:3] = single_blocks.#.linear1_qkv
single_blocks.#.linear2 = single_transformer_blocks.#.proj_out | single_transformer_blocks.#.attn.to_out
single_blocks.#.modulation.lin = single_transformer_blocks.#.norm.linear
single_blocks.#.norm.query_norm = single_transformer_blocks.#.attn.norm_q
single_blocks.#.norm.key_norm = single_transformer_blocks.#.attn.norm_k
img_in = x_embedder
txt_in = context_embedder
time_in.in_layer = time_text_embed.timestep_embedder.linear_1
time_in.out_layer = time_text_embed.timestep_embedder.linear_2
vector_in.in_layer = time_text_embed.text_embedder.linear_1
vector_in.out_layer = time_text_embed.text_embedder.linear_2
guidance_in.in_layer = time_text_embed.guidance_embedder.linear_1
guidance_in.out_layer = time_text_embed.guidance_embedder.linear_2
final_layer.linear = proj_out
final_layer.adaLN_modulation.1 = ~norm_out.linear
"""  # noqa: E501 - one weight, one line

# Chroma and Flux.2 have no modulation inside their blocks: Chroma makes it with a small network,
# Flux.2 shares one between all blocks.
WITHOUT_MODULATION = "\n".join(
    line for line in FLUX.splitlines() if not re.search("mod|guidance_in|vector_in|time_in", line)
)

CHROMA = (
    WITHOUT_MODULATION
    + """
distilled_guidance_layer.in_proj
distilled_guidance_layer.out_proj
distilled_guidance_layer.layers.#.in_layer = distilled_guidance_layer.layers.#.linear_1
distilled_guidance_layer.layers.#.out_layer = distilled_guidance_layer.layers.#.linear_2
"""
)

FLUX_2 = (
    WITHOUT_MODULATION
    + """
double_stream_modulation_{img,txt}.lin = double_stream_modulation_{img,txt}.linear
single_stream_modulation.lin = single_stream_modulation.linear
time_in.{in_layer,out_layer} = time_guidance_embed.timestep_embedder.{linear_1,linear_2}
guidance_in.{in_layer,out_layer} = time_guidance_embed.guidance_embedder.{linear_1,linear_2}
"""
)

HUNYUAN_VIDEO = """
double_blocks.#.{img,txt}_attn.{qkv,proj} = double_blocks.#.{img,txt}_attn_{qkv,proj}
double_blocks.#.{img,txt}_mlp.0 = double_blocks.#.{img,txt}_mlp.fc1
double_blocks.#.{img,txt}_mlp.2 = double_blocks.#.{img,txt}_mlp.fc2
double_blocks.#.{img,txt}_mod.lin = double_blocks.#.{img,txt}_mod.linear
single_blocks.#.linear1
single_blocks.#.linear2
single_blocks.#.modulation.lin = single_blocks.#.modulation.linear
"""

SD3 = """
joint_blocks.#.x_block.attn.qkv = transformer_blocks.#.attn.{to_q,to_k,to_v}
joint_blocks.#.x_block.attn.proj = transformer_blocks.#.attn.to_out.0
joint_blocks.#.x_block.attn.ln_q = transformer_blocks.#.attn.norm_q
joint_blocks.#.x_block.attn.ln_k = transformer_blocks.#.attn.norm_k
joint_blocks.#.x_block.attn2.qkv = transformer_blocks.#.attn2.{to_q,to_k,to_v}
joint_blocks.#.x_block.attn2.proj = transformer_blocks.#.attn2.to_out.0
joint_blocks.#.x_block.attn2.ln_q = transformer_blocks.#.attn2.norm_q
joint_blocks.#.x_block.attn2.ln_k = transformer_blocks.#.attn2.norm_k
joint_blocks.#.x_block.mlp.fc1 = transformer_blocks.#.ff.net.0.proj
joint_blocks.#.x_block.mlp.fc2 = transformer_blocks.#.ff.net.2
joint_blocks.#.x_block.adaLN_modulation.1 = transformer_blocks.#.norm1.linear
joint_blocks.#.context_block.attn.qkv = transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj}
joint_blocks.#.context_block.attn.proj = transformer_blocks.#.attn.to_add_out
joint_blocks.#.context_block.attn.ln_q = transformer_blocks.#.attn.norm_added_q
joint_blocks.#.context_block.attn.ln_k = transformer_blocks.#.attn.norm_added_k
joint_blocks.#.context_block.mlp.fc1 = transformer_blocks.#.ff_context.net.0.proj
joint_blocks.#.context_block.mlp.fc2 = transformer_blocks.#.ff_context.net.2
joint_blocks.#.context_block.adaLN_modulation.1 = transformer_blocks.#.norm1_context.linear
context_embedder
x_embedder.proj = pos_embed.proj
t_embedder.mlp.0 = time_text_embed.timestep_embedder.linear_1
t_embedder.mlp.2 = time_text_embed.timestep_embedder.linear_2
y_embedder.mlp.0 = time_text_embed.text_embedder.linear_1
y_embedder.mlp.2 = time_text_embed.text_embedder.linear_2
final_layer.linear = proj_out
final_layer.adaLN_modulation.1 = ~norm_out.linear
"""

QWEN_IMAGE = """
transformer_blocks.#.attn.{to_q,to_k,to_v,to_out.0}
transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj,to_add_out}
transformer_blocks.#.attn.{norm_q,norm_k,norm_added_q,norm_added_k}
transformer_blocks.#.{img,txt}_mlp.net.{0.proj,2}
transformer_blocks.#.{img,txt}_mod.1
img_in
txt_in
txt_norm
time_text_embed.timestep_embedder.linear_1
time_text_embed.timestep_embedder.linear_2
norm_out.linear
proj_out
"""

WAN = """
blocks.#.self_attn.{q,k,v} = blocks.#.attn1.to_{q,k,v}
blocks.#.self_attn.o = blocks.#.attn1.to_out.0
blocks.#.self_attn.{norm_q,norm_k} = blocks.#.attn1.{norm_q,norm_k}
blocks.#.cross_attn.{q,k,v} = blocks.#.attn2.to_{q,k,v}
blocks.#.cross_attn.o = blocks.#.attn2.to_out.0
blocks.#.cross_attn.{k_img,v_img} = blocks.#.attn2.{add_k_proj,add_v_proj}
blocks.#.cross_attn.norm_k_img = blocks.#.attn2.norm_added_k
blocks.#.cross_attn.{norm_q,norm_k} = blocks.#.attn2.{norm_q,norm_k}
blocks.#.ffn.0 = blocks.#.ffn.net.0.proj
blocks.#.ffn.2 = blocks.#.ffn.net.2
blocks.#.norm3 = blocks.#.norm2
blocks.#.modulation = blocks.#.scale_shift_table
patch_embedding
text_embedding.0 = condition_embedder.text_embedder.linear_1
text_embedding.2 = condition_embedder.text_embedder.linear_2
time_embedding.0 = condition_embedder.time_embedder.linear_1
time_embedding.2 = condition_embedder.time_embedder.linear_2
time_projection.1 = condition_embedder.time_proj
img_emb.proj.{0,1,3,4}
head.head = proj_out
head.modulation = scale_shift_table
"""

LTX_VIDEO = """
transformer_blocks.#.{attn1,attn2}.{to_q,to_k,to_v,to_out.0,q_norm,k_norm}
transformer_blocks.#.ff.net.{0.proj,2}
transformer_blocks.#.scale_shift_table
patchify_proj = proj_in
proj_out
adaln_single.linear = time_embed.linear
adaln_single.emb.timestep_embedder.linear_1 = time_embed.emb.timestep_embedder.linear_1
adaln_single.emb.timestep_embedder.linear_2 = time_embed.emb.timestep_embedder.linear_2
caption_projection.{linear_1,linear_2}
"""

Z_IMAGE = """
{layers,noise_refiner,context_refiner}.#.attention.out = {layers,noise_refiner,context_refiner}.#.attention.to_out.0
{layers,noise_refiner,context_refiner}.#.feed_forward.{w1,w2,w3}
{layers,noise_refiner,context_refiner}.#.adaLN_modulation.0
{layers,noise_refiner,context_refiner}.#.{attention_norm1,attention_norm2,ffn_norm1,ffn_norm2}
{layers,noise_refiner,context_refiner}.#.attention.{q_norm,k_norm} = {layers,noise_refiner,context_refiner}.#.attention.{norm_q,norm_k}
layers.#.attention.qkv = layers.#.attention.{to_q,to_k,to_v}
noise_refiner.#.attention.qkv = noise_refiner.#.attention.{to_q,to_k,to_v}
context_refiner.#.attention.qkv = context_refiner.#.attention.{to_q,to_k,to_v}
cap_embedder.{0,1}
t_embedder.mlp.{0,2}
x_pad_token
cap_pad_token
x_embedder = all_x_embedder.2-1
final_layer.linear = all_final_layer.2-1.linear
final_layer.adaLN_modulation.1 = all_final_layer.2-1.adaLN_modulation.1
"""  # noqa: E501

SDXL_EXTRA = """
label_emb.0.0 = add_embedding.linear_1 | class_embedding.linear_1
label_emb.0.2 = add_embedding.linear_2 | class_embedding.linear_2
"""

CLIP = """
text_model.encoder.layers.#.self_attn.{q_proj,k_proj,v_proj,out_proj}
text_model.encoder.layers.#.mlp.{fc1,fc2}
text_model.encoder.layers.#.{layer_norm1,layer_norm2}
text_projection
"""

T5 = """
encoder.block.#.layer.0.SelfAttention.{q,k,v,o}
encoder.block.#.layer.1.DenseReluDense.{wi_0,wi_1,wi,wo}
encoder.block.#.layer.{0,1}.layer_norm
"""

FAMILIES = (
    Family("Flux", FLUX, {"double_blocks": 19, "single_blocks": 38}),
    Family("Flux.2", FLUX_2, {"double_blocks": 8, "single_blocks": 48}),
    Family("Chroma", CHROMA, {"double_blocks": 19, "single_blocks": 38}),
    Family("HunyuanVideo", HUNYUAN_VIDEO, {"double_blocks": 20, "single_blocks": 40}),
    Family("Qwen-Image", QWEN_IMAGE, {"transformer_blocks": 60}),
    Family("SD3", SD3, {"joint_blocks": 24}),
    Family("Wan", WAN, {"blocks": 40}),
    Family("LTX-Video", LTX_VIDEO, {"transformer_blocks": 28}),
    Family("Z-Image", Z_IMAGE, {"layers": 30}),
    Family("SDXL", unet_table(3, {1: "#", 2: "#"}, SDXL_EXTRA), {"input_blocks": 9}, "unet."),
    Family(
        "SD1.5",
        unet_table(4, {0: "0", 1: "0", 2: "0"}, ""),
        {"input_blocks": 12},
        "unet.",
        kohya_is_native=False,
    ),
)

TEXT_ENCODERS = {"clip": Family("CLIP", CLIP), "t5": Family("T5", T5)}
