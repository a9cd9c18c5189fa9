"""Flux.2: dev and klein."""

import re

from ..family import Family, called
from .flux import WITHOUT_MODULATION

# Diffusers fuses Flux.2's linear1 as the model does, and names the gated MLPs by their ends.
TABLE = (
    "\n".join(line for line in WITHOUT_MODULATION.splitlines() if not re.search("mlp|linear", line))
    + """
double_blocks.#.{img,txt}_mlp.0 = transformer_blocks.#.{ff,ff_context}.linear_in | transformer_blocks.#.{ff,ff_context}.net.0.proj
double_blocks.#.{img,txt}_mlp.2 = transformer_blocks.#.{ff,ff_context}.linear_out | transformer_blocks.#.{ff,ff_context}.net.2
single_blocks.#.linear1 = single_transformer_blocks.#.attn.to_qkv_mlp_proj | single_transformer_blocks.#.{attn.to_q,attn.to_k,attn.to_v,proj_mlp}
single_blocks.#.linear1[0:3] = single_blocks.#.linear1_qkv
single_blocks.#.linear2 = single_transformer_blocks.#.attn.to_out | single_transformer_blocks.#.proj_out
double_stream_modulation_{img,txt}.lin = ?double_stream_modulation_{img,txt}.linear
single_stream_modulation.lin = ?single_stream_modulation.linear
time_in.{in_layer,out_layer} = ?time_guidance_embed.timestep_embedder.{linear_1,linear_2} | time_text_embed.timestep_embedder.{linear_1,linear_2}
guidance_in.{in_layer,out_layer} = ?time_guidance_embed.guidance_embedder.{linear_1,linear_2} | time_text_embed.guidance_embedder.{linear_1,linear_2}
final_layer.linear = proj_out
final_layer.adaLN_modulation.1 = ~norm_out.linear
"""  # noqa: E501
)

SHAPES = """
128x3072 3072x128 3072x256 3072x3072 3072x7680 3072x9216 3072x12288 6144x3072 9216x3072 18432x3072 27648x3072
128x4096 4096x128 4096x256 4096x4096 4096x12288 4096x16384 8192x4096 12288x4096 24576x4096 36864x4096
128x6144 6144x128 6144x256 6144x6144 6144x15360 6144x18432 6144x24576 12288x6144 18432x6144 36864x6144 55296x6144
"""  # noqa: E501

QKV = r"(attn\.qkv|linear1)$"

FAMILY = Family(
    name="Flux.2",
    order=10,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_blocks": (5, 8), "single_blocks": (20, 24, 48)},
    metadata="flux2",
    rows_per_column={"single_blocks.#.linear1": 9, "double_blocks.#.img_mlp.0": 6},
    called=(
        called("flux_2_dev", "Flux.2-dev/lora", QKV, 6144),
        called("flux_2_klein_9b", "Flux.2-klein-9b/lora", QKV, 4096),
        called("flux_2_klein_4b", "Flux.2-klein-4b/lora", QKV, 3072),
    ),
    lone_encoder=True,
    diffusers_models=("Flux2Transformer2DModel",),
    comfyui_models=("Flux2",),
)
