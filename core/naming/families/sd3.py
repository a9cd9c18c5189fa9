"""SD3."""

from ..family import Family, called

TABLE = """
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
joint_blocks.#.context_block.adaLN_modulation.1 = ~~transformer_blocks.#.norm1_context.linear
context_embedder
*pos_embed = pos_embed.pos_embed
x_embedder.proj = pos_embed.proj
t_embedder.mlp.0 = time_text_embed.timestep_embedder.linear_1
t_embedder.mlp.2 = time_text_embed.timestep_embedder.linear_2
y_embedder.mlp.0 = time_text_embed.text_embedder.linear_1
y_embedder.mlp.2 = time_text_embed.text_embedder.linear_2
final_layer.linear = proj_out
final_layer.adaLN_modulation.1 = ~norm_out.linear
"""

SHAPES = """
64x1536 1536x16 1536x256 1536x1536 1536x2048 1536x4096 1536x6144 3072x1536 4608x1536 6144x1536 9216x1536 13824x1536
64x2432 2432x16 2432x256 2432x2048 2432x2432 2432x4096 2432x9728 4864x2432 7296x2432 9728x2432 14592x2432
"""  # noqa: E501

FAMILY = Family(
    name="SD3",
    order=50,
    table=TABLE,
    shapes=SHAPES,
    blocks={"joint_blocks": (24, 38)},
    metadata="sd3|stablediffusion(v)?3",
    prefixes=("transformer.", "base_model.model.", "lora_transformer_", "lycoris_"),
    called=(called("", "stable-diffusion-3-5-large/lora", r"attn2?\.qkv$", 2432),),
    diffusers_models=("SD3Transformer2DModel",),
    comfyui_models=("SD3",),
)
