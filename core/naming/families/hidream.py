"""HiDream."""

from ..family import Family

TABLE = """
{double,single}_stream_blocks.#.block.attn1.{to_q,to_k,to_v,to_out,q_rms_norm,k_rms_norm}
double_stream_blocks.#.block.attn1.{to_q_t,to_k_t,to_v_t,to_out_t,q_rms_norm_t,k_rms_norm_t}
{double,single}_stream_blocks.#.block.ff_i.{shared_experts,experts.#}.{w1,w2,w3}
{double,single}_stream_blocks.#.block.ff_i.gate
double_stream_blocks.#.block.ff_t.{w1,w2,w3}
{double,single}_stream_blocks.#.block.adaLN_modulation.1
t_embedder.timestep_embedder.{linear_1,linear_2}
p_embedder.pooled_embedder.{linear_1,linear_2}
x_embedder.proj
caption_projection.#.linear
final_layer.{linear,adaLN_modulation.1}
"""

SHAPES = """
4x2560 64x2560 2560x64 2560x256 2560x2048 2560x2560 2560x3584 2560x4096 2560x6912 3584x2560 5120x2560 6912x2560 15360x2560 30720x2560
"""  # noqa: E501

FAMILY = Family(
    name="HiDream",
    order=150,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_stream_blocks": (16,), "single_stream_blocks": (32,)},
    metadata="hidream(?!o1)",
    prefixes=("lycoris_", "transformer."),
    encoders=("llama", "t5xxl"),
    diffusers_models=("HiDreamImageTransformer2DModel",),
    comfyui_models=("HiDream",),
)
