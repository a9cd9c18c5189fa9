"""SD1.5."""

from ..family import Called, called
from ..unet import unet_family

# The width of the text that the cross attention reads tells SD1 and SD2 apart.
CONTEXT = r"attn2\.to_[kv]$"
SHAPES = """
4x320 320x4 320x320 320x640 320x768 320x960 320x1024 320x1280 640x320 640x640 640x768 640x960 640x1024 640x1280 640x1920 640x2560 1280x320 1280x640 1280x768 1280x1024 1280x1280 1280x1920 1280x2560 1280x5120 2560x320 5120x640 10240x1280
"""  # noqa: E501

FAMILY = unet_family(
    levels=4,
    attention={0: "0", 1: "0", 2: "0"},
    order=110,
    name="SD1.5",
    shapes=SHAPES,
    blocks={"input_blocks": (12,), "output_blocks": (12,)},
    metadata="sdv?1|sdv?2|stablediffusion(v)?[12]",
    kohya_is_native=False,
    lone_encoder=True,
    called=(
        called("sd_v1", "stable-diffusion-v1/lora", CONTEXT, 768),
        Called({"ss_base_model_version": "sd_v2", "ss_v2": "True"}, CONTEXT, 1024),
    ),
    diffusers_models=("UNet2DConditionModel",),
    comfyui_models=(
        "LotusD",
        "Stable_Zero123",
        "SD15_instructpix2pix",
        "SD15",
        "SD20",
        "SD21UnclipL",
        "SD21UnclipH",
    ),
)
