"""Chroma: Flux with a small network in place of its modulation."""

from ..family import Family, called
from .flux import WITHOUT_MODULATION

TABLE = (
    WITHOUT_MODULATION
    + """
distilled_guidance_layer.{in_proj,out_proj} = ?distilled_guidance_layer.{in_proj,out_proj}
distilled_guidance_layer.layers.#.{in_layer,out_layer} = ?distilled_guidance_layer.layers.#.{linear_1,linear_2}
distilled_guidance_layer.norms.# = ?distilled_guidance_layer.norms.#
"""  # noqa: E501
)


FAMILY = Family(
    name="Chroma",
    order=20,
    table=TABLE,
    blocks={"double_blocks": (19,), "single_blocks": (38,)},
    metadata="chroma",
    rows_per_column={"single_blocks.#.linear1": 7, "double_blocks.#.img_mlp.0": 4},
    called=(called("chroma", "chroma/lora"),),
)
