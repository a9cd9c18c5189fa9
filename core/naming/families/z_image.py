"""Z-Image."""

from ..family import Family, called

NEXT_DIT = """
{layers,noise_refiner,context_refiner}.#.attention.out = {layers,noise_refiner,context_refiner}.#.attention.to_out.0
{layers,noise_refiner,context_refiner}.#.attention.{q_norm,k_norm} = {layers,noise_refiner,context_refiner}.#.attention.{norm_q,norm_k}
{layers,noise_refiner,context_refiner}.#.feed_forward.{w1,w2,w3}
{layers,noise_refiner,context_refiner}.#.{attention_norm1,attention_norm2,ffn_norm1,ffn_norm2}
cap_embedder.{0,1}
t_embedder.mlp.{0,2}
x_embedder = all_x_embedder.2-1
final_layer.linear = all_final_layer.2-1.linear
final_layer.adaLN_modulation.1 = all_final_layer.2-1.adaLN_modulation.1
"""  # noqa: E501

TABLE = (
    NEXT_DIT
    + """
{layers,noise_refiner,context_refiner}.#.adaLN_modulation.0
layers.#.attention.qkv = layers.#.attention.{to_q,to_k,to_v}
noise_refiner.#.attention.qkv = noise_refiner.#.attention.{to_q,to_k,to_v}
context_refiner.#.attention.qkv = context_refiner.#.attention.{to_q,to_k,to_v}
*{x_pad_token,cap_pad_token}
"""
)


FAMILY = Family(
    name="Z-Image",
    order=80,
    table=TABLE,
    blocks={"layers": (30,)},
    metadata="zimage",
    prefixes=("diffusion_model.", "transformer.", "lycoris_", ""),
    called=(called("z_image", "Z-Image/lora"),),
)
