"""SDXL."""

from ..family import called
from ..unet import SDXL_EXTRA, unet_family

SHAPES = """
4x320 320x4 320x320 320x640 320x960 320x1280 640x320 640x640 640x960 640x1280 640x1920 640x2048 640x2560 1280x320 1280x640 1280x1280 1280x1920 1280x2048 1280x2560 1280x2816 1280x5120 5120x640 10240x1280
"""  # noqa: E501

FAMILY = unet_family(
    levels=3,
    attention={1: "#", 2: "#"},
    extra=SDXL_EXTRA,
    order=100,
    name="SDXL",
    shapes=SHAPES,
    blocks={"input_blocks": (9,), "output_blocks": (9,)},
    metadata="sdxl|stablediffusionxl",
    called=(called("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"),),
    diffusers_models=("UNet2DConditionModel",),
    comfyui_models=(
        "SDXL_instructpix2pix",
        "SDXL",
        "SSD1B",
        "Segmind_Vega",
    ),
)
