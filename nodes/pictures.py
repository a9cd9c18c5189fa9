"""Charts as ComfyUI images. matplotlib is imported with the first chart, not with ComfyUI."""

import io
from typing import TYPE_CHECKING

import numpy
import torch
from PIL import Image
from torch import Tensor

from ..core import to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def image_of(figure: "Figure") -> Tensor:
    """A figure as an IMAGE: float32 [1, height, width, 3] between 0 and 1."""
    with Image.open(io.BytesIO(to_png(figure))) as picture:
        pixels = numpy.asarray(picture.convert("RGB"), dtype=numpy.float32) / 255
    return torch.from_numpy(pixels)[None]
