"""Ovis-Image: Flux with gated MLPs."""

import re

from ..family import Family
from .flux import TABLE as FLUX

# Diffusers has one layer for what a gate opens and the gate, no name for one of the two.
TABLE = (
    "\n".join(
        line
        for line in FLUX.splitlines()
        if not re.search("(img|txt)_mlp|vector_in|guidance|time_in", line)
    )
    + """
double_blocks.#.{img,txt}_mlp.{gate_proj,up_proj} = - | ?double_blocks.#.{img,txt}_mlp.{gate_proj,up_proj}
!double_blocks.#.{img,txt}_mlp.up_gate_proj = ?transformer_blocks.#.{ff,ff_context}.net.0.proj
double_blocks.#.{img,txt}_mlp.down_proj = ?transformer_blocks.#.{ff,ff_context}.net.2
time_in.{in_layer,out_layer} = ?timestep_embedder.{linear_1,linear_2} | time_text_embed.timestep_embedder.{linear_1,linear_2}
txt_norm = ?context_embedder_norm
"""  # noqa: E501
)

SHAPES = """
64x3072 3072x64 3072x256 3072x2048 3072x3072 3072x12288 3072x15360 6144x3072 9216x3072 12288x3072 18432x3072 24576x3072 33792x3072
"""  # noqa: E501

FAMILY = Family(
    name="Ovis-Image",
    order=350,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_blocks": (6,), "single_blocks": (27,)},
    metadata="ovis",
    rows_per_column={
        "single_blocks.#.linear1": 11,
        "double_blocks.#.img_mlp.up_gate_proj": 8,
        "double_blocks.#.txt_mlp.up_gate_proj": 8,
    },
    encoders=("qwen3_2b",),
    lone_encoder=True,
    diffusers_models=("OvisImageTransformer2DModel",),
    comfyui_models=("FluxSchnell",),
)
