"""Qwen-Image."""

from ..family import Family, called

TABLE = """
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
time_text_embed.addition_t_embedding
norm_out.linear
proj_out
"""

SHAPES = """
2x3072 64x3072 3072x64 3072x256 3072x3072 3072x3584 3072x12288 6144x3072 12288x3072 18432x3072
"""

FAMILY = Family(
    name="Qwen-Image",
    order=40,
    table=TABLE,
    shapes=SHAPES,
    blocks={"transformer_blocks": (60,)},
    metadata="qwenimage",
    prefixes=("", "transformer.", "lycoris_"),
    called=(called("qwen_image", "Qwen-Image/lora"),),
    encoders=("qwen25_7b",),
    lone_encoder=True,
    diffusers_models=("QwenImageTransformer2DModel",),
    comfyui_models=("QwenImage",),
)
