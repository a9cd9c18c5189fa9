"""Wan."""

from ..family import Family, called

# The motion encoder of Wan Animate counts from 1 in one model and from 0 in the other.
RESIDUALS = "".join(
    f"motion_encoder.enc.net_app.convs.{n + 1}.{{conv1.0,conv2.1,skip.1}} = "
    f"motion_encoder.res_blocks.{n}.{{conv1,conv2,conv_skip}}\n"
    for n in range(7)
)
# The second names are those of Wan Animate 2 in diffusers.
TABLE = """
blocks.#.self_attn.{q,k,v} = blocks.#.attn1.to_{q,k,v} | blocks.#.self_attn.to_{q,k,v}
blocks.#.self_attn.o = blocks.#.attn1.to_out.0 | blocks.#.self_attn.to_out.0
blocks.#.self_attn.{norm_q,norm_k} = blocks.#.attn1.{norm_q,norm_k}
blocks.#.cross_attn.{q,k,v} = blocks.#.attn2.to_{q,k,v} | blocks.#.cross_attn.to_{q,k,v}
blocks.#.cross_attn.o = blocks.#.attn2.to_out.0 | blocks.#.cross_attn.to_out.0
blocks.#.cross_attn.{k_img,v_img} = blocks.#.attn2.{add_k_proj,add_v_proj} | blocks.#.cross_attn.{add_k_proj,add_v_proj}
blocks.#.cross_attn.norm_k_img = blocks.#.attn2.norm_added_k
blocks.#.cross_attn.{norm_q,norm_k} = blocks.#.attn2.{norm_q,norm_k}
blocks.#.ffn.{0,2} = blocks.#.ffn.{net.0.proj,net.2}
blocks.#.norm3 = blocks.#.norm2
*blocks.#.modulation = blocks.#.scale_shift_table
vace_blocks.#.self_attn.{q,k,v,o} = vace_blocks.#.attn1.{to_q,to_k,to_v,to_out.0}
vace_blocks.#.cross_attn.{q,k,v,o} = vace_blocks.#.attn2.{to_q,to_k,to_v,to_out.0}
vace_blocks.#.{self_attn,cross_attn}.norm_q = vace_blocks.#.{attn1,attn2}.norm_q
vace_blocks.#.{self_attn,cross_attn}.norm_k = vace_blocks.#.{attn1,attn2}.norm_k
vace_blocks.#.ffn.{0,2} = vace_blocks.#.ffn.{net.0.proj,net.2}
vace_blocks.#.{norm3,before_proj,after_proj} = vace_blocks.#.{norm2,proj_in,proj_out}
*vace_blocks.#.modulation = vace_blocks.#.scale_shift_table
blocks.#.audio_cross_attn_wrapper.audio_cross_attn.{q,k,v,o,norm_q,norm_k} = -
blocks.#.audio_cross_attn_wrapper.norm1_audio
{patch_embedding,vace_patch_embedding,pose_patch_embedding}
{patch_embedding_global,patch_embedding_pose,patch_embedding_mask,ref_conv} = -
text_embedding.{0,2} = condition_embedder.text_embedder.{linear_1,linear_2}
time_embedding.{0,2} = condition_embedder.time_embedder.{linear_1,linear_2}
time_projection.1 = condition_embedder.time_proj
img_emb.proj.{0,4} = condition_embedder.image_embedder.{norm1,norm2}
img_emb.proj.{1,3} = condition_embedder.image_embedder.ff.{net.0.proj,net.2}
*img_emb.emb_pos = condition_embedder.image_embedder.pos_embed
control_adapter.conv = -
control_adapter.residual_blocks.#.{conv1,conv2} = -
face_adapter.fuser_blocks.#.linear1_q = face_adapter.#.to_q
face_adapter.fuser_blocks.#.linear1_kv = face_adapter.#.{to_k,to_v}
face_adapter.fuser_blocks.#.linear2 = face_adapter.#.to_out
face_adapter.fuser_blocks.#.{q_norm,k_norm} = face_adapter.#.{norm_q,norm_k}
face_encoder.{conv1_local,conv2,conv3}.conv = face_encoder.{conv1_local,conv2,conv3}
face_encoder.out_proj
*face_encoder.padding_tokens
motion_encoder.enc.fc.# = motion_encoder.motion_network.#
motion_encoder.dec.direction = -
motion_encoder.enc.net_app.convs.0.0 = motion_encoder.conv_in
motion_encoder.enc.net_app.convs.8 = motion_encoder.conv_out
RESIDUALS*motion_encoder.enc.net_app.convs.#.{conv2,skip}.0.kernel
audio_injector.injector.#.{q,k,v,o,norm_q,norm_k} = -
audio_injector.injector_adain_layers.#.linear = -
casual_audio_encoder.encoder.{conv1_local,conv1_global,conv2,conv3}.conv = -
casual_audio_encoder.encoder.final_linear = -
*{casual_audio_encoder.weights,casual_audio_encoder.encoder.padding_tokens}
{cond_encoder,trainable_cond_mask,frame_packer.proj,frame_packer.proj_2x,frame_packer.proj_4x} = -
audio_proj.{audio_proj_glob_1,audio_proj_glob_2,audio_proj_glob_3,audio_proj_glob_norm}.layer = -
music_encoder.#.self_attn.{q_proj,k_proj,v_proj,out_proj} = -
music_encoder.#.{linear1,linear2,norm1,norm2} = -
music_injector.injector.#.{q,k,v,o,norm_q,norm_k} = -
{music_projection,head_global.head} = -
*head_global.modulation
img_emb_refimage.proj.{0,1,3,4} = -
head.head = proj_out
*head.modulation = scale_shift_table
""".replace("RESIDUALS", RESIDUALS)  # noqa: E501

SHAPES = """
64x1536 1536x16 1536x96 1536x256 1536x1536 1536x4096 1536x8960 8960x1536 9216x1536
192x3072 3072x48 3072x256 3072x3072 3072x4096 3072x14336 14336x3072 18432x3072
3x5120 20x512 32x3 32x32 64x32 64x64 64x5120 128x64 128x128 256x35 256x128 256x256 256x1024 512x20 512x256 512x512 512x51200 1024x256 1024x1024 1280x1024 1280x1280 2560x1280 4096x512 5120x16 5120x20 5120x28 5120x32 5120x36 5120x48 5120x96 5120x256 5120x1024 5120x1280 5120x1536 5120x2560 5120x4096 5120x5120 5120x13824 10240x5120 13824x5120 24576x512 30720x5120
"""  # noqa: E501

FAMILY = Family(
    name="Wan",
    order=60,
    table=TABLE,
    shapes=SHAPES,
    blocks={"blocks": (30, 40)},
    metadata="wan",
    prefixes=(),
    called=(called("wan", ""),),
    encoders=("umt5xxl",),
    diffusers_models=(
        "WanTransformer3DModel",
        "WanVACETransformer3DModel",
        "WanAnimateTransformer3DModel",
    ),
    comfyui_models=(
        "WAN22_T2V",
        "WAN21_CausalAR_T2V",
        "WAN21_T2V",
        "WAN21_I2V",
        "WAN21_FunControl2V",
        "WAN21_Vace",
        "WAN21_Camera",
        "WAN22_Camera",
        "WAN22_S2V",
        "WAN21_HuMo",
        "WAN22_Animate",
        "WAN_Animate2",
        "WAN21_FlowRVS",
        "WAN21_SCAIL",
        "WAN21_SCAIL2",
        "WAN22_WanDancer",
    ),
)
