"""Lumina 2."""

from ..family import Family, called

# Its attention is grouped: q has three times the rows of k and v. ComfyUI's names for them cut it
# as if it had not; they are read here, and not written.
CUTS = {r"attention\.qkv$": (3, 1, 1)}
TABLE = """
layers.#.attention.qkv = ?layers.#.attn.{to_q,to_k,to_v} | ?layers.#.attention.{to_q,to_k,to_v}
noise_refiner.#.attention.qkv = ?noise_refiner.#.attn.{to_q,to_k,to_v} | ?noise_refiner.#.attention.{to_q,to_k,to_v}
context_refiner.#.attention.qkv = ?context_refiner.#.attn.{to_q,to_k,to_v} | ?context_refiner.#.attention.{to_q,to_k,to_v}
{layers,noise_refiner,context_refiner}.#.attention.out = ?{layers,noise_refiner,context_refiner}.#.attn.to_out.0 | {layers,noise_refiner,context_refiner}.#.attention.to_out.0
{layers,noise_refiner,context_refiner}.#.attention.q_norm = ?{layers,noise_refiner,context_refiner}.#.attn.norm_q | {layers,noise_refiner,context_refiner}.#.attention.norm_q
{layers,noise_refiner,context_refiner}.#.attention.k_norm = ?{layers,noise_refiner,context_refiner}.#.attn.norm_k | {layers,noise_refiner,context_refiner}.#.attention.norm_k
{layers,noise_refiner,context_refiner}.#.feed_forward.w1 = ?{layers,noise_refiner,context_refiner}.#.feed_forward.linear_1 | {layers,noise_refiner,context_refiner}.#.feed_forward.w1
{layers,noise_refiner,context_refiner}.#.feed_forward.w2 = ?{layers,noise_refiner,context_refiner}.#.feed_forward.linear_2 | {layers,noise_refiner,context_refiner}.#.feed_forward.w2
{layers,noise_refiner,context_refiner}.#.feed_forward.w3 = ?{layers,noise_refiner,context_refiner}.#.feed_forward.linear_3 | {layers,noise_refiner,context_refiner}.#.feed_forward.w3
{layers,noise_refiner}.#.attention_norm1 = ?{layers,noise_refiner}.#.norm1.norm | {layers,noise_refiner}.#.attention_norm1
context_refiner.#.attention_norm1 = ?context_refiner.#.norm1 | context_refiner.#.attention_norm1
{layers,noise_refiner,context_refiner}.#.attention_norm2 = ?{layers,noise_refiner,context_refiner}.#.norm2 | {layers,noise_refiner,context_refiner}.#.attention_norm2
{layers,noise_refiner,context_refiner}.#.{ffn_norm1,ffn_norm2}
{layers,noise_refiner,context_refiner}.#.adaLN_modulation.1 = ?{layers,noise_refiner,context_refiner}.#.norm1.linear
cap_embedder.{0,1} = ?time_caption_embed.caption_embedder.{0,1} | cap_embedder.{0,1}
t_embedder.mlp.{0,2} = ?time_caption_embed.timestep_embedder.{linear_1,linear_2} | t_embedder.mlp.{0,2}
x_embedder = ?x_embedder | all_x_embedder.2-1
final_layer.linear = ?norm_out.linear_2 | all_final_layer.2-1.linear
final_layer.adaLN_modulation.1 = ?norm_out.linear_1 | all_final_layer.2-1.adaLN_modulation.1
norm_final = ?norm_final
"""  # noqa: E501

SHAPES = """
64x2304 768x2304 1024x256 1024x1024 2304x64 2304x1024 2304x2304 2304x9216 3840x2304 9216x1024 9216x2304
"""  # noqa: E501

FAMILY = Family(
    name="Lumina 2",
    order=90,
    table=TABLE,
    shapes=SHAPES,
    blocks={"layers": (26,)},
    cuts=CUTS,
    metadata="lumina",
    prefixes=("diffusion_model.", "transformer.", "lycoris_", ""),
    called=(called("lumina2", "lumina-2/lora"),),
    encoders=("gemma2_2b",),
    lone_encoder=True,
    diffusers_models=("Lumina2Transformer2DModel",),
    comfyui_models=("Lumina2",),
)
