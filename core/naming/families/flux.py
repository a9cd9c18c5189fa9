"""Flux.1, and models with its names."""

import re

from ..family import Family, called

TABLE = """
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
time_in.in_layer = time_text_embed.timestep_embedder.linear_1 | ?time_embed.timestep_embedder.linear_1
time_in.out_layer = time_text_embed.timestep_embedder.linear_2 | ?time_embed.timestep_embedder.linear_2
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
    line for line in TABLE.splitlines() if not re.search("mod|guidance_in|vector_in|time_in", line)
)

SHAPES = """
64x3072 3072x64 3072x256 3072x768 3072x3072 3072x3584 3072x4096 3072x12288 3072x15360 6144x3072 9216x3072 12288x3072 18432x3072 21504x3072
"""  # noqa: E501

FAMILY = Family(
    name="Flux",
    order=0,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_blocks": (19,), "single_blocks": (38,)},
    metadata="flux(?!2)",
    rows_per_column={"single_blocks.#.linear1": 7, "double_blocks.#.img_mlp.0": 4},
    called=(called("flux1", "flux-1-dev/lora"),),
    diffusers_models=(
        "FluxTransformer2DModel",
        "LongCatImageTransformer2DModel",
    ),
    comfyui_models=(
        "FluxInpaint",
        "Flux",
        "LongCatImage",
        "FluxSchnell",
    ),
)
