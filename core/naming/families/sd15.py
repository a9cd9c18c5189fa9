"""SD1.5."""

from ..unet import unet_family

FAMILY = unet_family(
    levels=4,
    attention={0: "0", 1: "0", 2: "0"},
    order=110,
    name="SD1.5",
    blocks={"input_blocks": (12,)},
    metadata="sdv?1|sdv?2|stablediffusion(v)?[12]",
    kohya_is_native=False,
    lone_encoder=True,
)
