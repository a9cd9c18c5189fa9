"""ERNIE-Image."""

from ..family import Family

TABLE = """
layers.#.self_attention.{to_q,to_k,to_v,to_out.0,norm_q,norm_k}
layers.#.{mlp.gate_proj,mlp.up_proj,mlp.linear_fc2,adaLN_sa_ln,adaLN_mlp_ln}
x_embedder.proj
text_proj
time_embedding.{linear_1,linear_2}
adaLN_modulation.1
final_norm.linear
final_linear
"""

SHAPES = """
128x4096 4096x128 4096x3072 4096x4096 4096x12288 8192x4096 12288x4096 24576x4096
"""

FAMILY = Family(
    name="ERNIE-Image",
    order=220,
    table=TABLE,
    shapes=SHAPES,
    blocks={"layers": (36,)},
    metadata="ernie",
    prefixes=("transformer.",),
    encoders=("ministral3_3b",),
    lone_encoder=True,
    diffusers_models=("ErnieImageTransformer2DModel",),
    comfyui_models=("ErnieImage",),
)
