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

FAMILY = Family(
    name="Kandinsky 5",
    order=180,
    table=TABLE,
    blocks={"visual_transformer_blocks": (32, 50, 60)},
    metadata="kandinsky5",
    prefixes=("", "transformer."),
    called=(called("kandinsky5", "Kandinsky-5/lora"),),
)
