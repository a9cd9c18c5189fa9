"""SD1.5."""

from ..family import Called, called
from ..unet import unet_family

# The width of the text that the cross attention reads tells SD1 and SD2 apart.
CONTEXT = r"attn2\.to_[kv]$"

FAMILY = unet_family(
    levels=4,
    attention={0: "0", 1: "0", 2: "0"},
    order=110,
    name="SD1.5",
    blocks={"input_blocks": (12,)},
    metadata="sdv?1|sdv?2|stablediffusion(v)?[12]",
    kohya_is_native=False,
    lone_encoder=True,
    called=(
        called("sd_v1", "stable-diffusion-v1/lora", CONTEXT, 768),
        Called({"ss_base_model_version": "sd_v2", "ss_v2": "True"}, CONTEXT, 1024),
    ),
)
