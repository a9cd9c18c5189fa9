"""HunyuanVideo 1.5."""

from ..family import Family
from .hunyuan_video import BYT5, HUNYUAN, TEXT

TABLE = (
    HUNYUAN
    + TEXT
    + BYT5
    + """
time_in.{in_layer,out_layer} = ?time_embed.timestep_embedder.{linear_1,linear_2} | time_in.{in_layer,out_layer}
time_r_in.{in_layer,out_layer} = ?time_embed.timestep_embedder_r.{linear_1,linear_2} | time_r_in.{in_layer,out_layer}
vision_in.proj.{1,3} = ?image_embedder.{linear_1,linear_2} | vision_in.proj.{1,3}
vision_in.proj.{0,4} = ?image_embedder.{norm_in,norm_out} | vision_in.proj.{0,4}
cond_type_embedding = ?cond_type_embed | cond_type_embedding
"""  # noqa: E501
)

SHAPES = """
3x2048 32x2048 1152x1152 2048x65 2048x256 2048x1152 2048x1472 2048x2048 2048x3584 2048x8192 4096x2048 6144x2048 8192x2048 12288x2048
"""  # noqa: E501

FAMILY = Family(
    name="HunyuanVideo 1.5",
    order=32,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_blocks": (54,)},
    metadata="hunyuanvideov?15|^hv15",
    prefixes=("transformer.", "diffusion_model."),
    rows_per_column={"double_blocks.#.img_mlp.0": 4},
    encoders=("byt5_small", "qwen25_7b"),
    diffusers_models=("HunyuanVideo15Transformer3DModel",),
    comfyui_models=(
        "HunyuanVideo15_SR_Distilled",
        "HunyuanVideo15",
    ),
)
