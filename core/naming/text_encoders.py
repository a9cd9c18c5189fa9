"""The text encoders that LoRAs have layers for: CLIP, T5, language models and a BERT.

ComfyUI has several names for a weight of all but CLIP: `text_encoders.<encoder>.transformer.` and
its path, the same without the encoder, and one of kohya's where it is the model's only encoder. The
encoder of a canonical name is the family's (`Family.encoders`); where the family has one of a kind,
or is not known, every name of a weight leads to the same.
"""

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

# kohya's trainer begins inside the model.
LANGUAGE_MODEL = """
model.layers.#.self_attn.{q_proj,k_proj,v_proj,o_proj} = layers.#.self_attn.{q_proj,k_proj,v_proj,o_proj}
model.layers.#.self_attn.{q_norm,k_norm} = layers.#.self_attn.{q_norm,k_norm}
model.layers.#.mlp.{gate_proj,up_proj,down_proj} = layers.#.mlp.{gate_proj,up_proj,down_proj}
model.layers.#.{input_layernorm,post_attention_layernorm} = layers.#.{input_layernorm,post_attention_layernorm}
model.layers.#.{pre_feedforward_layernorm,post_feedforward_layernorm} = layers.#.{pre_feedforward_layernorm,post_feedforward_layernorm}
model.{embed_tokens,norm,lm_head} = {embed_tokens,norm,lm_head}
visual.blocks.#.attn.{qkv,proj}
visual.blocks.#.mlp.{gate_proj,up_proj,down_proj,linear_fc1,linear_fc2}
visual.blocks.#.{norm1,norm2}
visual.merger.{mlp.0,mlp.2,ln_q,norm,linear_fc1,linear_fc2}
visual.deepstack_merger_list.#.{norm,linear_fc1,linear_fc2}
visual.{patch_embed.proj,pos_embed}
vision_model.encoder.layers.#.self_attn.{q_proj,k_proj,v_proj,out_proj}
vision_model.encoder.layers.#.mlp.{fc1,fc2}
"""  # noqa: E501

BERT = """
bert.encoder.layer.#.attention.self.{query,key,value} = encoder.layer.#.attention.self.{query,key,value}
bert.encoder.layer.#.attention.output.{dense,LayerNorm} = encoder.layer.#.attention.output.{dense,LayerNorm}
bert.encoder.layer.#.intermediate.dense = encoder.layer.#.intermediate.dense
bert.encoder.layer.#.output.{dense,LayerNorm} = encoder.layer.#.output.{dense,LayerNorm}
bert.embeddings.{LayerNorm,word_embeddings,position_embeddings,token_type_embeddings} = embeddings.{LayerNorm,word_embeddings,position_embeddings,token_type_embeddings}
"""  # noqa: E501

TEXT_ENCODERS = {
    "clip": Family(name="CLIP", table=CLIP),
    "t5": Family(name="T5", table=T5),
    "language model": Family(name="language model", table=LANGUAGE_MODEL),
    "bert": Family(name="BERT", table=BERT),
}
# What an encoder of a kind is called where its family does not say.
SOME = {"t5": "t5xxl", "language model": "language_model", "bert": "hydit_clip"}
# The one T5 that ComfyUI has names of kohya's trainer for.
OF_KOHYA = "t5xxl"


def encoder_of(kind: str, named: str | None, family: Family) -> str:
    """What a canonical name calls an encoder that is no CLIP, given what the file calls it."""
    own = _own(kind, family)
    if named in own:
        return str(named)
    return own[-1] if own else SOME[kind]


def several(kind: str, family: Family) -> bool:
    return len(_own(kind, family)) > 1


def _own(kind: str, family: Family) -> list[str]:
    return [name for name in family.encoders if ("t5" in name) == (kind == "t5")]


def written_as(encoder: str, kind: str, family: Family) -> str:
    """What stands before the path of a weight after `text_encoders.`: never a name made up here."""
    known = encoder in family.encoders or (encoder == OF_KOHYA and not family.encoders)
    return f"{encoder}.transformer." if known else "transformer."
