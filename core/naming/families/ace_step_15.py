"""ACE-Step 1.5."""

from ..family import Family

# Other trainers than ComfyUI's train the decoder by itself: their names start inside it. So do
# diffusers', which ComfyUI does not read.
TABLE = """
decoder.layers.#.{self_attn,cross_attn}.{q_proj,k_proj,v_proj,o_proj} = ?layers.#.{self_attn,cross_attn}.{to_q,to_k,to_v,to_out.0} | layers.#.{self_attn,cross_attn}.{q_proj,k_proj,v_proj,o_proj}
decoder.layers.#.{self_attn,cross_attn}.{q_norm,k_norm} = ?layers.#.{self_attn,cross_attn}.{norm_q,norm_k} | layers.#.{self_attn,cross_attn}.{q_norm,k_norm}
decoder.layers.#.mlp.{gate_proj,up_proj,down_proj} = layers.#.mlp.{gate_proj,up_proj,down_proj}
decoder.layers.#.{self_attn_norm,cross_attn_norm,mlp_norm} = layers.#.{self_attn_norm,cross_attn_norm,mlp_norm}
decoder.{time_embed,time_embed_r}.{linear_1,linear_2,time_proj} = {time_embed,time_embed_r}.{linear_1,linear_2,time_proj}
decoder.{condition_embedder,norm_out} = {condition_embedder,norm_out}
decoder.{proj_in.1,proj_out.1} = ?{proj_in_conv,proj_out_conv} | {proj_in.1,proj_out.1}
*decoder.layers.#.scale_shift_table
*decoder.scale_shift_table
*{null_condition_emb,encoder.timbre_encoder.special_token,tokenizer.attention_pooler.special_token,detokenizer.special_tokens}
{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.layers.#.{self_attn.q_proj,self_attn.k_proj,self_attn.v_proj,self_attn.o_proj,self_attn.q_norm,self_attn.k_norm} = - | ?{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.layers.#.{self_attn.q_proj,self_attn.k_proj,self_attn.v_proj,self_attn.o_proj,self_attn.q_norm,self_attn.k_norm}
{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.layers.#.{mlp.gate_proj,mlp.up_proj,mlp.down_proj,input_layernorm,post_attention_layernorm} = - | ?{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.layers.#.{mlp.gate_proj,mlp.up_proj,mlp.down_proj,input_layernorm,post_attention_layernorm}
{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.{embed_tokens,norm} = - | ?{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.{embed_tokens,norm}
{encoder.text_projector,tokenizer.audio_acoustic_proj,tokenizer.quantizer.project_in,tokenizer.quantizer.project_out,detokenizer.proj_out} = - | ?{encoder.text_projector,tokenizer.audio_acoustic_proj,tokenizer.quantizer.project_in,tokenizer.quantizer.project_out,detokenizer.proj_out}
"""  # noqa: E501

SHAPES = """
6x2048 64x2048 1024x2048 2048x6 2048x64 2048x192 2048x256 2048x1024 2048x2048 2048x6144 6144x2048 12288x2048
"""  # noqa: E501

FAMILY = Family(
    name="ACE-Step 1.5",
    order=250,
    table=TABLE,
    shapes=SHAPES,
    blocks={},
    metadata="acestepv?15",
    prefixes=("base_model.model.", "lycoris_"),
    encoders=("qwen3_06b", "qwen3_2b"),
    diffusers_models=("AceStepTransformer1DModel",),
    comfyui_models=("ACEStep15",),
)
