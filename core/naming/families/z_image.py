"""Z-Image."""

from ..family import Family, called

TABLE = """
{layers,noise_refiner,context_refiner}.#.attention.out = {layers,noise_refiner,context_refiner}.#.attention.to_out.0
{layers,noise_refiner,context_refiner}.#.attention.{q_norm,k_norm} = {layers,noise_refiner,context_refiner}.#.attention.{norm_q,norm_k}
{layers,noise_refiner,context_refiner}.#.feed_forward.{w1,w2,w3}
{layers,noise_refiner,context_refiner}.#.{attention_norm1,attention_norm2,ffn_norm1,ffn_norm2}
cap_embedder.{0,1}
t_embedder.mlp.{0,2}
x_embedder = all_x_embedder.2-1
final_layer.linear = all_final_layer.2-1.linear
final_layer.adaLN_modulation.1 = all_final_layer.2-1.adaLN_modulation.1
{layers,noise_refiner,context_refiner}.#.adaLN_modulation.0
layers.#.attention.qkv = layers.#.attention.{to_q,to_k,to_v}
noise_refiner.#.attention.qkv = noise_refiner.#.attention.{to_q,to_k,to_v}
context_refiner.#.attention.qkv = context_refiner.#.attention.{to_q,to_k,to_v}
*{x_pad_token,cap_pad_token,siglip_pad_token}
siglip_refiner.#.attention.qkv = ?siglip_refiner.#.attention.{to_q,to_k,to_v}
siglip_refiner.#.attention.out = ?siglip_refiner.#.attention.to_out.0
siglip_refiner.#.attention.{q_norm,k_norm} = ?siglip_refiner.#.attention.{norm_q,norm_k}
siglip_refiner.#.feed_forward.{w1,w2,w3} = ?siglip_refiner.#.feed_forward.{w1,w2,w3}
siglip_refiner.#.{attention_norm1,attention_norm2,ffn_norm1,ffn_norm2} = ?siglip_refiner.#.{attention_norm1,attention_norm2,ffn_norm1,ffn_norm2}
siglip_embedder.{0,1} = ?siglip_embedder.{0,1}
dec_net.{cond_embed,final_layer.linear,input_embedder.embedder.0} = - | ?dec_net.{cond_embed,final_layer.linear,input_embedder.embedder.0}
dec_net.res_blocks.#.{in_ln,mlp.0,mlp.2,adaLN_modulation.1} = - | ?dec_net.res_blocks.#.{in_ln,mlp.0,mlp.2,adaLN_modulation.1}
*__x0__
"""  # noqa: E501

SHAPES = """
64x3840 256x1024 1024x256 3072x3840 3840x64 3840x256 3840x1152 3840x2560 3840x3072 3840x3136 3840x3840 3840x10240 10240x3840 11520x3840 15360x256
"""  # noqa: E501

FAMILY = Family(
    name="Z-Image",
    order=80,
    table=TABLE,
    shapes=SHAPES,
    blocks={"layers": (30,)},
    metadata="zimage",
    prefixes=("diffusion_model.", "transformer.", "lycoris_", ""),
    called=(called("z_image", "Z-Image/lora"),),
    encoders=("qwen3_4b",),
    lone_encoder=True,
    diffusers_models=("ZImageTransformer2DModel",),
    comfyui_models=(
        "ZImagePixelSpace",
        "ZImage",
    ),
)
