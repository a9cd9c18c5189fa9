"""SDXL."""

from ..family import called
from ..unet import SDXL_EXTRA, unet_family

FAMILY = unet_family(
    levels=3,
    attention={1: "#", 2: "#"},
    extra=SDXL_EXTRA,
    order=100,
    name="SDXL",
    blocks={"input_blocks": (9,)},
    metadata="sdxl|stablediffusionxl",
    called=(called("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"),),
)
