"""Chroma: Flux with a small network in place of its modulation."""

from ..family import Family, called
from .flux import WITHOUT_MODULATION

TABLE = (
    WITHOUT_MODULATION
    + """
distilled_guidance_layer.{in_proj,out_proj} = ?distilled_guidance_layer.{in_proj,out_proj}
distilled_guidance_layer.layers.#.{in_layer,out_layer} = ?distilled_guidance_layer.layers.#.{linear_1,linear_2}
distilled_guidance_layer.norms.# = ?distilled_guidance_layer.norms.#
nerf_blocks.#.{norm,param_generator} = - | ?nerf_blocks.#.{norm,param_generator}
{nerf_final_layer_conv,nerf_final_layer}.{norm,conv,linear} = - | ?{nerf_final_layer_conv,nerf_final_layer}.{norm,conv,linear}
{img_in_patch,nerf_image_embedder.embedder.0} = - | ?{img_in_patch,nerf_image_embedder.embedder.0}
*{__x0__,__sequential__}
"""  # noqa: E501
)

SHAPES = """
3x64 64x67 64x3072 3072x3 3072x64 3072x3072 3072x4096 3072x5120 3072x12288 3072x15360 5120x64 5120x5120 9216x3072 12288x3072 21504x3072 49152x3072
"""  # noqa: E501

FAMILY = Family(
    name="Chroma",
    order=20,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_blocks": (19,), "single_blocks": (38,)},
    metadata="chroma",
    rows_per_column={"single_blocks.#.linear1": 7, "double_blocks.#.img_mlp.0": 4},
    called=(called("chroma", "chroma/lora"),),
    encoders=("t5xxl",),
    diffusers_models=("ChromaTransformer2DModel",),
    comfyui_models=(
        "Chroma",
        "ChromaRadiance",
    ),
)
