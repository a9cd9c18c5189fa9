"""The text encoders that LoRAs have layers for: CLIP and T5."""

from .family import Family

CLIP = """
text_model.encoder.layers.#.self_attn.{q_proj,k_proj,v_proj,out_proj}
text_model.encoder.layers.#.mlp.{fc1,fc2}
*text_model.encoder.layers.#.{layer_norm1,layer_norm2}
*text_model.embeddings.{token_embedding,position_embedding}
*text_model.final_layer_norm
text_projection
"""

T5 = """
encoder.block.#.layer.0.SelfAttention.{q,k,v,o,relative_attention_bias}
encoder.block.#.layer.1.DenseReluDense.{wi_0,wi_1,wi,wo}
encoder.block.#.layer.{0,1}.layer_norm
encoder.final_layer_norm
shared
"""

TEXT_ENCODERS = {
    "clip": Family(name="CLIP", table=CLIP),
    "t5": Family(name="T5", table=T5),
}
