"""Model families: which module names mean the same weight. To add one, see `Family` in `family`.

Add a table and list it in FAMILIES; `family` says how the lines of a table are read.
"""

import re

from .family import Family


def unet_table(levels: int, attention: dict[int, str], extra: str) -> str:
    """The table of a Stable Diffusion UNet with two residual blocks per level.

    `attention` maps a level to the transformer index its attentions have ("0", or "#" where there
    are several). The arithmetic is that of LDM's flat block lists: every level takes two residual
    blocks and one down-sampler going in, three residual blocks going out.
    """
    resnet = {
        "in_layers.2": "conv1",
        "emb_layers.1": "time_emb_proj",
        "out_layers.3": "conv2",
        "skip_connection": "conv_shortcut",
        "in_layers.0": "norm1",
        "out_layers.0": "norm2",
    }
    lines = [
        "input_blocks.0.0 = conv_in",
        "out.0 = conv_norm_out",
        "out.2 = conv_out",
        "time_embed.0 = time_embedding.linear_1",
        "time_embed.2 = time_embedding.linear_2",
        extra,
    ]

    def add(native: str, diffusers: tuple[str, str], index: str | None) -> None:
        lines.extend(f"{native}.0.{a} = {diffusers[0]}.{b}" for a, b in resnet.items())
        if index is not None:
            transformer(f"{native}.1", diffusers[1], index)

    def transformer(native: str, diffusers: str, index: str) -> None:
        block = f"transformer_blocks.{index}"
        lines.extend(
            f"{native}.{name} = {diffusers}.{name}" for name in ("norm", "proj_in", "proj_out")
        )
        for name in ("attn1", "attn2"):
            at, their = f"{native}.{block}.{name}", f"{diffusers}.{block}.{name}"
            lines.extend(
                f"{at}.{to} = {their}.processor.{to} | {their}.{to}"
                for to in ("to_q", "to_k", "to_v")
            )
            lines.append(f"{at}.to_out.0 = {their}.processor.to_out | {their}.to_out.0")
        lines.extend(
            f"{native}.{block}.{name} = {diffusers}.{block}.{name}"
            for name in ("ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3")
        )

    for level in range(levels):
        index = attention.get(level)
        for i in range(2):
            add(
                f"input_blocks.{1 + 3 * level + i}",
                (f"down_blocks.{level}.resnets.{i}", f"down_blocks.{level}.attentions.{i}"),
                index,
            )
        if level < levels - 1:
            lines.append(
                f"input_blocks.{3 * level + 3}.0.op = down_blocks.{level}.downsamplers.0.conv"
            )
        up = levels - 1 - level
        for i in range(3):
            add(
                f"output_blocks.{3 * up + i}",
                (f"up_blocks.{up}.resnets.{i}", f"up_blocks.{up}.attentions.{i}"),
                index,
            )
        if up < levels - 1:
            slot = 1 if index is None else 2
            lines.append(
                f"output_blocks.{3 * up + 2}.{slot}.conv = up_blocks.{up}.upsamplers.0.conv"
            )
    for block, theirs in ((0, 0), (2, 1)):
        lines.extend(
            f"middle_block.{block}.{a} = mid_block.resnets.{theirs}.{b}" for a, b in resnet.items()
        )
    transformer("middle_block.1", "mid_block.attentions.0", max(attention.values(), key="#".count))
    return "\n".join(lines)


FLUX = """
double_blocks.#.img_attn.qkv = transformer_blocks.#.attn.{to_q,to_k,to_v}
double_blocks.#.img_attn.proj = transformer_blocks.#.attn.to_out.0
double_blocks.#.img_mlp.0 = transformer_blocks.#.ff.net.0.proj | transformer_blocks.#.ff.linear_in
double_blocks.#.img_mlp.2 = transformer_blocks.#.ff.net.2 | transformer_blocks.#.ff.linear_out
double_blocks.#.img_mod.lin = transformer_blocks.#.norm1.linear
double_blocks.#.img_attn.norm.query_norm = transformer_blocks.#.attn.norm_q
double_blocks.#.img_attn.norm.key_norm = transformer_blocks.#.attn.norm_k
double_blocks.#.txt_attn.qkv = transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj}
double_blocks.#.txt_attn.proj = transformer_blocks.#.attn.to_add_out
double_blocks.#.txt_mlp.0 = transformer_blocks.#.ff_context.net.0.proj | transformer_blocks.#.ff_context.linear_in
double_blocks.#.txt_mlp.2 = transformer_blocks.#.ff_context.net.2 | transformer_blocks.#.ff_context.linear_out
double_blocks.#.txt_mod.lin = transformer_blocks.#.norm1_context.linear
double_blocks.#.txt_attn.norm.query_norm = transformer_blocks.#.attn.norm_added_q
double_blocks.#.txt_attn.norm.key_norm = transformer_blocks.#.attn.norm_added_k
single_blocks.#.linear1 = single_transformer_blocks.#.{attn.to_q,attn.to_k,attn.to_v,proj_mlp} | single_transformer_blocks.#.attn.to_qkv_mlp_proj
single_blocks.#.linear1[0:3] = single_blocks.#.linear1_qkv
single_blocks.#.linear2 = single_transformer_blocks.#.proj_out | single_transformer_blocks.#.attn.to_out
single_blocks.#.modulation.lin = single_transformer_blocks.#.norm.linear
single_blocks.#.norm.query_norm = single_transformer_blocks.#.attn.norm_q
single_blocks.#.norm.key_norm = single_transformer_blocks.#.attn.norm_k
img_in = x_embedder
txt_in = context_embedder
time_in.in_layer = time_text_embed.timestep_embedder.linear_1
time_in.out_layer = time_text_embed.timestep_embedder.linear_2
vector_in.in_layer = time_text_embed.text_embedder.linear_1
vector_in.out_layer = time_text_embed.text_embedder.linear_2
guidance_in.in_layer = time_text_embed.guidance_embedder.linear_1
guidance_in.out_layer = time_text_embed.guidance_embedder.linear_2
final_layer.linear = proj_out
final_layer.adaLN_modulation.1 = ~norm_out.linear
"""  # noqa: E501 - one weight, one line

# Chroma and Flux.2 have no modulation inside their blocks: Chroma makes it with a small network,
# Flux.2 shares one between all blocks.
WITHOUT_MODULATION = "\n".join(
    line for line in FLUX.splitlines() if not re.search("mod|guidance_in|vector_in|time_in", line)
)

CHROMA = (
    WITHOUT_MODULATION
    + """
distilled_guidance_layer.{in_proj,out_proj} = ?distilled_guidance_layer.{in_proj,out_proj}
distilled_guidance_layer.layers.#.{in_layer,out_layer} = ?distilled_guidance_layer.layers.#.{linear_1,linear_2}
distilled_guidance_layer.norms.# = ?distilled_guidance_layer.norms.#
"""  # noqa: E501
)

# Diffusers fuses Flux.2's linear1 as the model does, and names the gated MLPs by their ends.
FLUX_2 = (
    "\n".join(line for line in WITHOUT_MODULATION.splitlines() if not re.search("mlp|linear", line))
    + """
double_blocks.#.{img,txt}_mlp.0 = transformer_blocks.#.{ff,ff_context}.linear_in | transformer_blocks.#.{ff,ff_context}.net.0.proj
double_blocks.#.{img,txt}_mlp.2 = transformer_blocks.#.{ff,ff_context}.linear_out | transformer_blocks.#.{ff,ff_context}.net.2
single_blocks.#.linear1 = single_transformer_blocks.#.attn.to_qkv_mlp_proj | single_transformer_blocks.#.{attn.to_q,attn.to_k,attn.to_v,proj_mlp}
single_blocks.#.linear1[0:3] = single_blocks.#.linear1_qkv
single_blocks.#.linear2 = single_transformer_blocks.#.attn.to_out | single_transformer_blocks.#.proj_out
double_stream_modulation_{img,txt}.lin = ?double_stream_modulation_{img,txt}.linear
single_stream_modulation.lin = ?single_stream_modulation.linear
time_in.{in_layer,out_layer} = ?time_guidance_embed.timestep_embedder.{linear_1,linear_2} | time_text_embed.timestep_embedder.{linear_1,linear_2}
guidance_in.{in_layer,out_layer} = ?time_guidance_embed.guidance_embedder.{linear_1,linear_2} | time_text_embed.guidance_embedder.{linear_1,linear_2}
final_layer.linear = proj_out
final_layer.adaLN_modulation.1 = ~norm_out.linear
"""  # noqa: E501
)

HUNYUAN_VIDEO = """
double_blocks.#.{img,txt}_attn.{qkv,proj} = double_blocks.#.{img,txt}_attn_{qkv,proj}
double_blocks.#.{img,txt}_attn.norm.{query_norm,key_norm}
double_blocks.#.{img,txt}_mlp.{0,2} = double_blocks.#.{img,txt}_mlp.{fc1,fc2}
double_blocks.#.{img,txt}_mod.lin = double_blocks.#.{img,txt}_mod.linear
single_blocks.#.{linear1,linear2}
single_blocks.#.norm.{query_norm,key_norm}
single_blocks.#.modulation.lin = single_blocks.#.modulation.linear
txt_in.input_embedder
txt_in.{t_embedder,c_embedder}.{in_layer,out_layer}
txt_in.individual_token_refiner.blocks.#.self_attn.{qkv,proj} = txt_in.individual_token_refiner.blocks.#.self_attn_{qkv,proj}
txt_in.individual_token_refiner.blocks.#.mlp.{0,2} = txt_in.individual_token_refiner.blocks.#.mlp.{fc1,fc2}
txt_in.individual_token_refiner.blocks.#.{norm1,norm2,adaLN_modulation.1}
img_in.proj
{time_in,vector_in,guidance_in}.{in_layer,out_layer}
final_layer.{linear,adaLN_modulation.1}
byt5_in.{layernorm,fc1,fc2,fc3}
vision_in.proj.{0,1,3,4}
cond_type_embedding
"""  # noqa: E501

SD3 = """
joint_blocks.#.x_block.attn.qkv = transformer_blocks.#.attn.{to_q,to_k,to_v}
joint_blocks.#.x_block.attn.proj = transformer_blocks.#.attn.to_out.0
joint_blocks.#.x_block.attn.ln_q = transformer_blocks.#.attn.norm_q
joint_blocks.#.x_block.attn.ln_k = transformer_blocks.#.attn.norm_k
joint_blocks.#.x_block.attn2.qkv = transformer_blocks.#.attn2.{to_q,to_k,to_v}
joint_blocks.#.x_block.attn2.proj = transformer_blocks.#.attn2.to_out.0
joint_blocks.#.x_block.attn2.ln_q = transformer_blocks.#.attn2.norm_q
joint_blocks.#.x_block.attn2.ln_k = transformer_blocks.#.attn2.norm_k
joint_blocks.#.x_block.mlp.fc1 = transformer_blocks.#.ff.net.0.proj
joint_blocks.#.x_block.mlp.fc2 = transformer_blocks.#.ff.net.2
joint_blocks.#.x_block.adaLN_modulation.1 = transformer_blocks.#.norm1.linear
joint_blocks.#.context_block.attn.qkv = transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj}
joint_blocks.#.context_block.attn.proj = transformer_blocks.#.attn.to_add_out
joint_blocks.#.context_block.attn.ln_q = transformer_blocks.#.attn.norm_added_q
joint_blocks.#.context_block.attn.ln_k = transformer_blocks.#.attn.norm_added_k
joint_blocks.#.context_block.mlp.fc1 = transformer_blocks.#.ff_context.net.0.proj
joint_blocks.#.context_block.mlp.fc2 = transformer_blocks.#.ff_context.net.2
joint_blocks.#.context_block.adaLN_modulation.1 = ~~transformer_blocks.#.norm1_context.linear
context_embedder
*pos_embed = pos_embed.pos_embed
x_embedder.proj = pos_embed.proj
t_embedder.mlp.0 = time_text_embed.timestep_embedder.linear_1
t_embedder.mlp.2 = time_text_embed.timestep_embedder.linear_2
y_embedder.mlp.0 = time_text_embed.text_embedder.linear_1
y_embedder.mlp.2 = time_text_embed.text_embedder.linear_2
final_layer.linear = proj_out
final_layer.adaLN_modulation.1 = ~norm_out.linear
"""

QWEN_IMAGE = """
transformer_blocks.#.attn.{to_q,to_k,to_v,to_out.0}
transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj,to_add_out}
transformer_blocks.#.attn.{norm_q,norm_k,norm_added_q,norm_added_k}
transformer_blocks.#.{img,txt}_mlp.net.{0.proj,2}
transformer_blocks.#.{img,txt}_mod.1
img_in
txt_in
txt_norm
time_text_embed.timestep_embedder.linear_1
time_text_embed.timestep_embedder.linear_2
norm_out.linear
proj_out
"""

WAN = """
blocks.#.self_attn.{q,k,v} = blocks.#.attn1.to_{q,k,v}
blocks.#.self_attn.o = blocks.#.attn1.to_out.0
blocks.#.self_attn.{norm_q,norm_k} = blocks.#.attn1.{norm_q,norm_k}
blocks.#.cross_attn.{q,k,v} = blocks.#.attn2.to_{q,k,v}
blocks.#.cross_attn.o = blocks.#.attn2.to_out.0
blocks.#.cross_attn.{k_img,v_img} = blocks.#.attn2.{add_k_proj,add_v_proj}
blocks.#.cross_attn.norm_k_img = blocks.#.attn2.norm_added_k
blocks.#.cross_attn.{norm_q,norm_k} = blocks.#.attn2.{norm_q,norm_k}
blocks.#.ffn.{0,2} = blocks.#.ffn.{net.0.proj,net.2}
blocks.#.norm3 = blocks.#.norm2
*blocks.#.modulation = blocks.#.scale_shift_table
vace_blocks.#.{self_attn,cross_attn}.{q,k,v,o,norm_q,norm_k}
vace_blocks.#.{ffn.0,ffn.2,norm3,before_proj,after_proj}
*vace_blocks.#.modulation
patch_embedding
vace_patch_embedding
text_embedding.{0,2} = condition_embedder.text_embedder.{linear_1,linear_2}
time_embedding.{0,2} = condition_embedder.time_embedder.{linear_1,linear_2}
time_projection.1 = condition_embedder.time_proj
img_emb.proj.{0,4} = condition_embedder.image_embedder.{norm1,norm2}
img_emb.proj.{1,3} = condition_embedder.image_embedder.ff.{net.0.proj,net.2}
head.head = proj_out
*head.modulation = scale_shift_table
"""

LTX_VIDEO = """
transformer_blocks.#.{attn1,attn2}.{to_q,to_k,to_v,to_out.0,q_norm,k_norm}
transformer_blocks.#.ff.net.{0.proj,2}
*transformer_blocks.#.scale_shift_table
{patchify_proj,proj_out,adaln_single.linear}
adaln_single.emb.timestep_embedder.{linear_1,linear_2}
caption_projection.{linear_1,linear_2}
*scale_shift_table
transformer_blocks.#.{audio_attn1,audio_attn2,audio_to_video_attn,video_to_audio_attn}.{to_q,to_k,to_v,to_out.0,q_norm,k_norm}
transformer_blocks.#.audio_ff.net.{0.proj,2}
*transformer_blocks.#.{audio_scale_shift_table,scale_shift_table_a2v_ca_audio,scale_shift_table_a2v_ca_video}
{audio,video}_embeddings_connector.transformer_1d_blocks.#.attn1.{to_q,to_k,to_v,to_out.0,q_norm,k_norm}
{audio,video}_embeddings_connector.transformer_1d_blocks.#.ff.net.{0.proj,2}
*{audio,video}_embeddings_connector.learnable_registers
{audio,av_ca_video_scale_shift,av_ca_audio_scale_shift,av_ca_a2v_gate,av_ca_v2a_gate}_adaln_single.linear
{audio,av_ca_video_scale_shift,av_ca_audio_scale_shift,av_ca_a2v_gate,av_ca_v2a_gate}_adaln_single.emb.timestep_embedder.{linear_1,linear_2}
audio_caption_projection.{linear_1,linear_2}
{audio_patchify_proj,audio_proj_out}
*audio_scale_shift_table
"""

NEXT_DIT = """
{layers,noise_refiner,context_refiner}.#.attention.out = {layers,noise_refiner,context_refiner}.#.attention.to_out.0
{layers,noise_refiner,context_refiner}.#.attention.{q_norm,k_norm} = {layers,noise_refiner,context_refiner}.#.attention.{norm_q,norm_k}
{layers,noise_refiner,context_refiner}.#.feed_forward.{w1,w2,w3}
{layers,noise_refiner,context_refiner}.#.{attention_norm1,attention_norm2,ffn_norm1,ffn_norm2}
cap_embedder.{0,1}
t_embedder.mlp.{0,2}
x_embedder = all_x_embedder.2-1
final_layer.linear = all_final_layer.2-1.linear
final_layer.adaLN_modulation.1 = all_final_layer.2-1.adaLN_modulation.1
"""  # noqa: E501

Z_IMAGE = (
    NEXT_DIT
    + """
{layers,noise_refiner,context_refiner}.#.adaLN_modulation.0
layers.#.attention.qkv = layers.#.attention.{to_q,to_k,to_v}
noise_refiner.#.attention.qkv = noise_refiner.#.attention.{to_q,to_k,to_v}
context_refiner.#.attention.qkv = context_refiner.#.attention.{to_q,to_k,to_v}
*{x_pad_token,cap_pad_token}
"""
)

# Its attention is grouped: q has more rows than k and v, and nobody splits it rightly.
LUMINA_2 = (
    NEXT_DIT
    + """
{layers,noise_refiner,context_refiner}.#.adaLN_modulation.1 = ?{layers,noise_refiner,context_refiner}.#.adaLN_modulation.1
{layers,noise_refiner,context_refiner}.#.attention.qkv = ?{layers,noise_refiner,context_refiner}.#.attention.qkv
norm_final = ?norm_final
"""  # noqa: E501
)

AURA_FLOW = """
double_layers.#.attn.{w2q,w2k,w2v,w2o} = joint_transformer_blocks.#.attn.{to_q,to_k,to_v,to_out.0}
double_layers.#.attn.{w1q,w1k,w1v,w1o} = joint_transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj,to_add_out}
double_layers.#.mlpX.{c_fc1,c_fc2,c_proj} = joint_transformer_blocks.#.ff.{linear_1,linear_2,out_projection}
double_layers.#.mlpC.{c_fc1,c_fc2,c_proj} = joint_transformer_blocks.#.ff_context.{linear_1,linear_2,out_projection}
double_layers.#.{modX,modC}.1 = joint_transformer_blocks.#.{norm1,norm1_context}.linear
single_layers.#.attn.{w1q,w1k,w1v,w1o} = single_transformer_blocks.#.attn.{to_q,to_k,to_v,to_out.0}
single_layers.#.mlp.{c_fc1,c_fc2,c_proj} = single_transformer_blocks.#.ff.{linear_1,linear_2,out_projection}
single_layers.#.modCX.1 = single_transformer_blocks.#.norm1.linear
*positional_encoding = pos_embed.pos_embed
*register_tokens
t_embedder.mlp.{0,2} = time_step_proj.{linear_1,linear_2}
cond_seq_linear = context_embedder
init_x_linear = pos_embed.proj
final_linear = proj_out
modF.1 = ~norm_out.linear
"""  # noqa: E501

PIXART = """
blocks.#.attn.qkv = transformer_blocks.#.attn1.{to_q,to_k,to_v}
blocks.#.attn.proj = transformer_blocks.#.attn1.to_out.0
blocks.#.cross_attn.q_linear = transformer_blocks.#.attn2.to_q
blocks.#.cross_attn.kv_linear = transformer_blocks.#.attn2.{to_k,to_v}
blocks.#.cross_attn.proj = transformer_blocks.#.attn2.to_out.0
blocks.#.mlp.{fc1,fc2} = transformer_blocks.#.ff.{net.0.proj,net.2}
*blocks.#.scale_shift_table = transformer_blocks.#.scale_shift_table
t_block.1 = adaln_single.linear
t_embedder.mlp.{0,2} = adaln_single.emb.timestep_embedder.{linear_1,linear_2}
csize_embedder.mlp.{0,2} = adaln_single.emb.resolution_embedder.{linear_1,linear_2}
ar_embedder.mlp.{0,2} = adaln_single.emb.aspect_ratio_embedder.{linear_1,linear_2}
*y_embedder.y_embedding = caption_projection.y_embedding
y_embedder.y_proj.{fc1,fc2} = caption_projection.{linear_1,linear_2}
x_embedder.proj = pos_embed.proj
final_layer.linear = proj_out
*final_layer.scale_shift_table = scale_shift_table
"""

HIDREAM = """
{double,single}_stream_blocks.#.block.attn1.{to_q,to_k,to_v,to_out,q_rms_norm,k_rms_norm}
double_stream_blocks.#.block.attn1.{to_q_t,to_k_t,to_v_t,to_out_t,q_rms_norm_t,k_rms_norm_t}
{double,single}_stream_blocks.#.block.ff_i.{shared_experts,experts.#}.{w1,w2,w3}
{double,single}_stream_blocks.#.block.ff_i.gate
double_stream_blocks.#.block.ff_t.{w1,w2,w3}
{double,single}_stream_blocks.#.block.adaLN_modulation.1
t_embedder.timestep_embedder.{linear_1,linear_2}
p_embedder.pooled_embedder.{linear_1,linear_2}
x_embedder.proj
caption_projection.#.linear
final_layer.{linear,adaLN_modulation.1}
"""

KREA_2 = """
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

COSMOS_PREDICT_2 = """
blocks.#.{self_attn,cross_attn}.{q_proj,k_proj,v_proj,output_proj,q_norm,k_norm}
blocks.#.mlp.{layer1,layer2}
blocks.#.adaln_modulation_{self_attn,cross_attn,mlp}.{1,2}
t_embedder.1.{linear_1,linear_2}
t_embedding_norm
x_embedder.proj.1
final_layer.{linear,adaln_modulation.1,adaln_modulation.2}
llm_adapter.blocks.#.{self_attn,cross_attn}.{q_proj,k_proj,v_proj,o_proj,q_norm,k_norm}
llm_adapter.blocks.#.{mlp.0,mlp.2,norm_self_attn,norm_cross_attn,norm_mlp}
llm_adapter.{embed,out_proj,norm}
"""

KANDINSKY_5 = """
{text,visual}_transformer_blocks.#.self_attention.{to_query,to_key,to_value,out_layer,query_norm,key_norm}
visual_transformer_blocks.#.cross_attention.{to_query,to_key,to_value,out_layer,query_norm,key_norm}
{text,visual}_transformer_blocks.#.feed_forward.{in_layer,out_layer}
text_transformer_blocks.#.text_modulation.out_layer
visual_transformer_blocks.#.visual_modulation.out_layer
time_embeddings.{in_layer,out_layer}
{text,pooled_text,visual}_embeddings.{in_layer,norm}
out_layer.{modulation.out_layer,out_layer}
"""

OMNIGEN_2 = """
{layers,noise_refiner,ref_image_refiner,context_refiner}.#.attn.{to_q,to_k,to_v,to_out.0,norm_q,norm_k}
{layers,noise_refiner,ref_image_refiner,context_refiner}.#.feed_forward.{linear_1,linear_2,linear_3}
{layers,noise_refiner,ref_image_refiner,context_refiner}.#.{norm1,norm1.linear,norm1.norm,norm2,ffn_norm1,ffn_norm2}
time_caption_embed.timestep_embedder.{linear_1,linear_2}
time_caption_embed.caption_embedder.{0,1}
{x_embedder,ref_image_patch_embedder}
*image_index_embedding
norm_out.{linear_1,linear_2}
"""

HUNYUAN_DIT = """
blocks.#.attn1.{Wqkv,out_proj,q_norm,k_norm}
blocks.#.attn2.{q_proj,kv_proj,out_proj,q_norm,k_norm}
blocks.#.{mlp.fc1,mlp.fc2,default_modulation.1,skip_linear,skip_norm,norm1,norm2,norm3}
mlp_t5.{0,2}
pooler.{q_proj,k_proj,v_proj,c_proj}
*{pooler.positional_embedding,text_embedding_padding}
x_embedder.proj
t_embedder.mlp.{0,2}
extra_embedder.{0,2}
final_layer.{linear,adaLN_modulation.1}
"""

MOCHI = """
blocks.#.attn.{qkv_x,qkv_y,proj_x,proj_y,q_norm_x,k_norm_x,q_norm_y,k_norm_y}
blocks.#.{mlp_x,mlp_y}.{w1,w2}
blocks.#.{mod_x,mod_y}
t5_y_embedder.{to_q,to_kv,to_out}
t5_yproj
*pos_frequencies
x_embedder.proj
t_embedder.mlp.{0,2}
final_layer.{mod,linear}
"""

ERNIE_IMAGE = """
layers.#.self_attention.{to_q,to_k,to_v,to_out.0,norm_q,norm_k}
layers.#.{mlp.gate_proj,mlp.up_proj,mlp.linear_fc2,adaLN_sa_ln,adaLN_mlp_ln}
x_embedder.proj
text_proj
time_embedding.{linear_1,linear_2}
adaLN_modulation.1
final_norm.linear
final_linear
"""

COGVIDEOX = """
blocks.#.{q,k,v,attn_out} = transformer_blocks.#.attn1.{to_q,to_k,to_v,to_out.0}
blocks.#.{norm_q,norm_k} = transformer_blocks.#.attn1.{norm_q,norm_k}
blocks.#.{ff_proj,ff_out} = transformer_blocks.#.ff.{net.0.proj,net.2}
blocks.#.{norm1,norm2}.{linear,norm} = transformer_blocks.#.{norm1,norm2}.{linear,norm}
patch_embed.{proj,text_proj}
time_embedding_linear_{1,2} = time_embedding.linear_{1,2}
norm_final
norm_out.{linear,norm}
proj_out
"""

ACE_STEP = """
transformer_blocks.#.attn.{to_q,to_k,to_v,to_out.0}
transformer_blocks.#.cross_attn.{to_q,to_k,to_v,to_out.0}
transformer_blocks.#.cross_attn.{add_q_proj,add_k_proj,add_v_proj,to_add_out}
transformer_blocks.#.ff.{inverted_conv,depth_conv,point_conv}.conv
*transformer_blocks.#.scale_shift_table
timestep_embedder.{linear_1,linear_2}
t_block.1
{speaker_embedder,genre_embedder,lyric_embs,lyric_proj}
lyric_encoder.embed.out.{0,1}
lyric_encoder.after_norm
lyric_encoder.encoders.#.self_attn.{linear_q,linear_k,linear_v,linear_out,linear_pos}
*lyric_encoder.encoders.#.self_attn.{pos_bias_u,pos_bias_v}
lyric_encoder.encoders.#.feed_forward.{w_1,w_2}
lyric_encoder.encoders.#.{norm_ff,norm_mha}
projectors.#.{0,2,4}
proj_in.early_conv_layers.{0,1,2}
final_layer.linear
*final_layer.scale_shift_table
"""

# Other trainers than ComfyUI's train the decoder by itself: their names start inside it.
ACE_STEP_1_5 = """
decoder.layers.#.{self_attn,cross_attn}.{q_proj,k_proj,v_proj,o_proj} = layers.#.{self_attn,cross_attn}.{q_proj,k_proj,v_proj,o_proj}
decoder.layers.#.{self_attn,cross_attn}.{q_norm,k_norm} = layers.#.{self_attn,cross_attn}.{q_norm,k_norm}
decoder.layers.#.mlp.{gate_proj,up_proj,down_proj} = layers.#.mlp.{gate_proj,up_proj,down_proj}
decoder.layers.#.{self_attn_norm,cross_attn_norm,mlp_norm} = layers.#.{self_attn_norm,cross_attn_norm,mlp_norm}
decoder.{time_embed,time_embed_r}.{linear_1,linear_2,time_proj} = {time_embed,time_embed_r}.{linear_1,linear_2,time_proj}
decoder.{condition_embedder,norm_out,proj_in.1,proj_out.1} = {condition_embedder,norm_out,proj_in.1,proj_out.1}
*decoder.layers.#.scale_shift_table
*decoder.scale_shift_table
*{null_condition_emb,encoder.timbre_encoder.special_token,tokenizer.attention_pooler.special_token,detokenizer.special_tokens}
{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.layers.#.{self_attn.q_proj,self_attn.k_proj,self_attn.v_proj,self_attn.o_proj,self_attn.q_norm,self_attn.k_norm} = ?{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.layers.#.{self_attn.q_proj,self_attn.k_proj,self_attn.v_proj,self_attn.o_proj,self_attn.q_norm,self_attn.k_norm}
{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.layers.#.{mlp.gate_proj,mlp.up_proj,mlp.down_proj,input_layernorm,post_attention_layernorm} = ?{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.layers.#.{mlp.gate_proj,mlp.up_proj,mlp.down_proj,input_layernorm,post_attention_layernorm}
{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.{embed_tokens,norm} = ?{encoder.lyric_encoder,encoder.timbre_encoder,tokenizer.attention_pooler,detokenizer}.{embed_tokens,norm}
{encoder.text_projector,tokenizer.audio_acoustic_proj,tokenizer.quantizer.project_in,tokenizer.quantizer.project_out,detokenizer.proj_out} = ?{encoder.text_projector,tokenizer.audio_acoustic_proj,tokenizer.quantizer.project_in,tokenizer.quantizer.project_out,detokenizer.proj_out}
"""  # noqa: E501

SDXL_EXTRA = """
label_emb.0.0 = add_embedding.linear_1 | class_embedding.linear_1
label_emb.0.2 = add_embedding.linear_2 | class_embedding.linear_2
"""

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

NATIVE_FIRST = ("", "transformer.", "lycoris_")  # where ComfyUI accepts the model's own names bare
UNET_PREFIXES = ("lora_unet_", "lycoris_", "", "unet.")
UNET_CONVOLUTIONS = r"(in_layers\.2|out_layers\.3|\.op|\.conv|^input_blocks\.0\.0|^out\.2)$"

# Of two families that fit equally well, the first is taken.
FAMILIES = (
    Family(
        "Flux",
        FLUX,
        {"double_blocks": (19,), "single_blocks": (38,)},
        "flux(?!2)",
        rows_per_column={"single_blocks.#.linear1": 7, "double_blocks.#.img_mlp.0": 4},
    ),
    Family(
        "Flux.2",
        FLUX_2,
        {"double_blocks": (5, 8), "single_blocks": (20, 24, 48)},
        "flux2",
        rows_per_column={"single_blocks.#.linear1": 9, "double_blocks.#.img_mlp.0": 6},
    ),
    Family(
        "Chroma",
        CHROMA,
        {"double_blocks": (19,), "single_blocks": (38,)},
        "chroma",
        rows_per_column={"single_blocks.#.linear1": 7, "double_blocks.#.img_mlp.0": 4},
    ),
    Family(
        "HunyuanVideo",
        HUNYUAN_VIDEO,
        {"double_blocks": (20,), "single_blocks": (40,)},
        "hunyuanvideo|hunyuanimage|framepack|^hv",
        ("transformer.", "diffusion_model."),
        rows_per_column={"single_blocks.#.linear1": 7, "double_blocks.#.img_mlp.0": 4},
    ),
    Family("Qwen-Image", QWEN_IMAGE, {"transformer_blocks": (60,)}, "qwenimage", NATIVE_FIRST),
    Family(
        "SD3",
        SD3,
        {"joint_blocks": (24, 38)},
        "sd3|stablediffusion(v)?3",
        ("transformer.", "base_model.model.", "lora_transformer_", "lycoris_"),
    ),
    Family("Wan", WAN, {"blocks": (30, 40)}, "wan", ()),
    Family("LTX-Video", LTX_VIDEO, {"transformer_blocks": (28, 48)}, "ltx", ("",)),
    Family(
        "Z-Image",
        Z_IMAGE,
        {"layers": (30,)},
        "zimage",
        ("diffusion_model.", "transformer.", "lycoris_", ""),
    ),
    Family(
        "Lumina 2",
        LUMINA_2,
        {"layers": (26,)},
        "lumina",
        ("diffusion_model.", "transformer.", "lycoris_", ""),
    ),
    Family(
        "SDXL",
        unet_table(3, {1: "#", 2: "#"}, SDXL_EXTRA),
        {"input_blocks": (9,)},
        "sdxl|stablediffusionxl",
        UNET_PREFIXES,
        "unet.",
        convolutions=UNET_CONVOLUTIONS,
    ),
    Family(
        "SD1.5",
        unet_table(4, {0: "0", 1: "0", 2: "0"}, ""),
        {"input_blocks": (12,)},
        "sdv?1|sdv?2|stablediffusion(v)?[12]",
        UNET_PREFIXES,
        "unet.",
        convolutions=UNET_CONVOLUTIONS,
        kohya_is_native=False,
        lone_encoder=True,
    ),
    Family(
        "SDXL refiner",
        unet_table(4, {1: "#", 2: "#"}, SDXL_EXTRA),
        {"input_blocks": (12,)},
        "refiner",
        UNET_PREFIXES,
        "unet.",
        convolutions=UNET_CONVOLUTIONS,
        lone_encoder=True,
    ),
    Family("AuraFlow", AURA_FLOW, {"double_layers": (4,), "single_layers": (32,)}, "aura"),
    Family(
        "PixArt",
        PIXART,
        {"blocks": (28,)},
        "pixart",
        ("transformer.", "base_model.model.", "unet.base_model.model."),
    ),
    Family(
        "HiDream",
        HIDREAM,
        {"double_stream_blocks": (16,), "single_stream_blocks": (32,)},
        "hidream",
        ("lycoris_", "transformer."),
    ),
    Family(
        "Krea 2",
        KREA_2,
        {"blocks": (28,)},
        "krea2",
        ("diffusion_model.", "transformer.", "lycoris_", ""),
    ),
    Family("Cosmos Predict2 / Anima", COSMOS_PREDICT_2, {"blocks": (28, 36)}, "cosmos|anima", ()),
    Family(
        "Kandinsky 5",
        KANDINSKY_5,
        {"visual_transformer_blocks": (32, 50, 60)},
        "kandinsky5",
        ("", "transformer."),
    ),
    Family("OmniGen2", OMNIGEN_2, {"layers": (32,)}, "omnigen2", ("",)),
    Family("HunyuanDiT", HUNYUAN_DIT, {"blocks": (40,)}, "hunyuandit", ("base_model.model.",)),
    Family("Mochi", MOCHI, {"blocks": (48,)}, "mochi", ("",)),
    Family("ERNIE-Image", ERNIE_IMAGE, {"layers": (36,)}, "ernie", ("transformer.",)),
    Family("CogVideoX", COGVIDEOX, {"blocks": (30, 42)}, "cogvideo", ()),
    Family("ACE-Step", ACE_STEP, {"transformer_blocks": (24,)}, "acestep(?!v?15)", ("",)),
    Family(
        "ACE-Step 1.5",
        ACE_STEP_1_5,
        {},
        "acestepv?15",
        ("base_model.model.", "lycoris_"),
        "base_model.model.",
    ),
)

TEXT_ENCODERS = {"clip": Family("CLIP", CLIP), "t5": Family("T5", T5)}
