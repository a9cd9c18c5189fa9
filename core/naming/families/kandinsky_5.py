"""Kandinsky 5."""

from ..family import Family, called

TABLE = """
{text,visual}_transformer_blocks.#.self_attention.{to_query,to_key,to_value,out_layer,query_norm,key_norm}
visual_transformer_blocks.#.cross_attention.{to_query,to_key,to_value,out_layer,query_norm,key_norm}
{text,visual}_transformer_blocks.#.feed_forward.{in_layer,out_layer}
text_transformer_blocks.#.text_modulation.out_layer
visual_transformer_blocks.#.visual_modulation.out_layer
time_embeddings.{in_layer,out_layer}
{text,pooled_text,visual}_embeddings.{in_layer,norm}
out_layer.{modulation.out_layer,out_layer}
"""

SHAPES = """
64x1792 512x512 512x768 512x1792 1792x132 1792x1792 1792x3584 1792x7168 3584x512 7168x1792 10752x512 16128x512
64x2560 512x512 512x768 512x2560 2560x64 2560x2560 2560x3584 2560x10240 5120x512 10240x2560 15360x512 23040x512
64x4096 1024x768 1024x1024 1024x4096 4096x132 4096x3584 4096x4096 4096x16384 8192x1024 16384x4096 24576x1024 36864x1024
"""  # noqa: E501

FAMILY = Family(
    name="Kandinsky 5",
    order=180,
    table=TABLE,
    shapes=SHAPES,
    blocks={"visual_transformer_blocks": (32, 50, 60)},
    metadata="kandinsky5",
    prefixes=("", "transformer."),
    called=(called("kandinsky5", "Kandinsky-5/lora"),),
    encoders=("qwen25_7b",),
    diffusers_models=("Kandinsky5Transformer3DModel",),
    comfyui_models=(
        "Kandinsky5Image",
        "Kandinsky5",
    ),
)
