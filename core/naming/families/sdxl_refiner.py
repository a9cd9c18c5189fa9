"""SDXL refiner."""

from ..unet import SDXL_EXTRA, unet_family

SHAPES = """
4x384 384x4 384x384 384x768 384x1152 384x1536 768x384 768x768 768x1152 768x1280 768x1536 768x2304 768x3072 1536x384 1536x768 1536x1280 1536x1536 1536x2304 1536x2560 1536x3072 1536x6144 6144x768 12288x1536
"""  # noqa: E501

FAMILY = unet_family(
    levels=4,
    attention={1: "#", 2: "#"},
    extra=SDXL_EXTRA,
    order=120,
    name="SDXL refiner",
    shapes=SHAPES,
    blocks={"input_blocks": (12,), "output_blocks": (12,)},
    metadata="refiner",
    lone_encoder=True,
    diffusers_models=("UNet2DConditionModel",),
    comfyui_models=("SDXLRefiner",),
)
