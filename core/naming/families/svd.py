"""Stable Video Diffusion."""

from ..unet import SDXL_EXTRA, unet_family

SHAPES = """
4x320 320x8 320x320 320x640 320x960 320x1024 320x1280 640x320 640x640 640x960 640x1024 640x1280 640x1920 640x2560 1280x320 1280x640 1280x768 1280x1024 1280x1280 1280x1920 1280x2560 1280x5120 2560x320 2560x640 5120x640 5120x1280 10240x1280
"""  # noqa: E501

FAMILY = unet_family(
    levels=4,
    attention={0: "0", 1: "0", 2: "0"},
    extra=SDXL_EXTRA,
    video=True,
    order=410,
    name="SVD",
    shapes=SHAPES,
    blocks={"input_blocks": (12,), "output_blocks": (12,)},
    metadata="svd|stablevideo",
    comfyui_models=(
        "SV3D_u",
        "SV3D_p",
        "SVD_img2vid",
    ),
)
