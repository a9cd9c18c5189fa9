"""Hunyuan3D 2.1."""

from ..family import Family

TABLE = """
blocks.#.{attn1,attn2}.{to_q,to_k,to_v,out_proj,q_norm,k_norm}
blocks.#.mlp.{fc1,fc2}
blocks.#.moe.experts.#.net.{0.proj,2}
blocks.#.moe.shared_experts.net.{0.proj,2}
blocks.#.{moe.gate,norm1,norm2,norm3,skip_linear,skip_norm}
t_embedder.mlp.{0,2}
t_embedder.cond_proj
x_embedder
final_layer.{linear,norm_final}
"""

SHAPES = """
8x2048 64x2048 2048x64 2048x1024 2048x2048 2048x4096 2048x8192 8192x2048
"""

FAMILY = Family(
    name="Hunyuan3D 2.1",
    order=370,
    table=TABLE,
    shapes=SHAPES,
    blocks={"blocks": (21,)},
    metadata="hunyuan3d21",
    prefixes=(),
    comfyui_models=("Hunyuan3Dv2_1",),
)
