"""Krea 2."""

from ..family import Family, called

TABLE = """
blocks.#.attn.{wq,wk,wv,gate} = transformer_blocks.#.attn.{to_q,to_k,to_v,to_gate}
blocks.#.attn.wo = transformer_blocks.#.attn.to_out.0 | transformer_blocks.#.attn.to_out
blocks.#.mlp.{gate,up,down} = transformer_blocks.#.ff.{gate,up,down}
txtfusion.{layerwise,refiner}_blocks.#.attn.{wq,wk,wv,gate} = text_fusion.{layerwise,refiner}_blocks.#.attn.{to_q,to_k,to_v,to_gate}
txtfusion.{layerwise,refiner}_blocks.#.attn.wo = text_fusion.{layerwise,refiner}_blocks.#.attn.to_out.0 | text_fusion.{layerwise,refiner}_blocks.#.attn.to_out
txtfusion.{layerwise,refiner}_blocks.#.mlp.{gate,up,down} = text_fusion.{layerwise,refiner}_blocks.#.ff.{gate,up,down}
txtfusion.projector = text_fusion.projector
first = img_in
tmlp.{0,2} = time_embed.{linear_1,linear_2}
tproj.1 = time_mod_proj
txtmlp.{1,3} = txt_in.{linear_1,linear_2}
last.linear = final_layer.linear
*{blocks,txtfusion.layerwise_blocks,txtfusion.refiner_blocks}.#.{prenorm,postnorm,attn.qknorm.qnorm,attn.qknorm.knorm}.scale
*{blocks.#.mod.lin,last.modulation.lin,last.norm.scale,txtmlp.0.scale}
"""  # noqa: E501

SHAPES = """
1x12 64x6144 1536x6144 2560x2560 2560x6912 6144x64 6144x256 6144x2560 6144x6144 6144x16384 6912x2560 16384x6144 36864x6144
"""  # noqa: E501

FAMILY = Family(
    name="Krea 2",
    order=160,
    table=TABLE,
    shapes=SHAPES,
    blocks={"blocks": (28,)},
    metadata="krea2",
    prefixes=("diffusion_model.", "transformer.", "lycoris_", ""),
    called=(called("krea2", ""),),
    encoders=("qwen3vl_4b",),
    lone_encoder=True,
    diffusers_models=("Krea2Transformer2DModel",),
    comfyui_models=("Krea2",),
)
