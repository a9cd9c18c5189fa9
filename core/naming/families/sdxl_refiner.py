"""SDXL refiner."""

from ..unet import SDXL_EXTRA, unet_family

FAMILY = unet_family(
    levels=4,
    attention={1: "#", 2: "#"},
    extra=SDXL_EXTRA,
    order=120,
    name="SDXL refiner",
    blocks={"input_blocks": (12,)},
    metadata="refiner",
    lone_encoder=True,
)
