"""The models of ComfyUI at their full size: class by class of `supported_models`, as its detection
sets them up for the published weights. Knows nothing of ComfyUI: plain data.

`MODELS`: our name of the model -> (class, settings beyond the class's own).
`TEXT_ENCODERS`: our name -> (module of ComfyUI, function or class, its arguments).
`LEFT_OUT`: class -> why it has no map of its own.
"""

from core.naming.catalogue import OUTSIDE

UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "use_spatial_transformer": True,
    "legacy": False, "model_channels": 320, "use_temporal_attention": False,
    "use_temporal_resblock": False,
}  # fmt: skip
SD15 = UNET | {
    "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4], "context_dim": 768,
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "adm_in_channels": None,
    "use_linear_in_transformer": False, "num_heads": 8,
}  # fmt: skip
SD20 = SD15 | {
    "context_dim": 1024, "use_linear_in_transformer": True, "num_heads": -1,
    "num_head_channels": 64,
}  # fmt: skip
SDXL = UNET | {
    "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "context_dim": 2048,
    "transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "adm_in_channels": 2816,
    "use_linear_in_transformer": True, "num_head_channels": 64, "num_classes": "sequential",
}  # fmt: skip
SSD_1B = SDXL | {
    "transformer_depth": [0, 0, 2, 2, 4, 4], "transformer_depth_middle": -1,
    "transformer_depth_output": [0, 0, 0, 1, 1, 2, 10, 4, 4],
}  # fmt: skip
VEGA = SDXL | {
    "transformer_depth": [0, 0, 1, 1, 2, 2], "transformer_depth_middle": -1,
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2],
}  # fmt: skip
KOALA = SDXL | {"num_res_blocks": [1, 1, 1]}
KOALA_700M = KOALA | {
    "transformer_depth": [0, 2, 5], "transformer_depth_middle": -2,
    "transformer_depth_output": [0, 0, 2, 2, 5, 5],
}  # fmt: skip
KOALA_1B = KOALA | {
    "transformer_depth": [0, 2, 6], "transformer_depth_middle": 6,
    "transformer_depth_output": [0, 0, 2, 2, 6, 6],
}  # fmt: skip
REFINER = UNET | {
    "model_channels": 384, "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4],
    "context_dim": 1280, "transformer_depth": [0, 0, 4, 4, 4, 4, 0, 0],
    "transformer_depth_middle": 4, "adm_in_channels": 2560, "use_linear_in_transformer": True,
    "transformer_depth_output": [0, 0, 0, 4, 4, 4, 4, 4, 4, 0, 0, 0], "num_head_channels": 64,
    "num_classes": "sequential",
}  # fmt: skip
SVD = SD20 | {
    "in_channels": 8, "adm_in_channels": 768, "use_temporal_attention": True,
    "use_temporal_resblock": True, "num_classes": "sequential", "extra_ff_mix_layer": True,
    "use_spatial_context": True, "merge_strategy": "learned_with_images", "merge_factor": 0.0,
    "video_kernel_size": [3, 1, 1], "disable_temporal_crossattention": False,
}  # fmt: skip
FLUX = {
    "axes_dim": [16, 56, 56], "num_heads": 24, "mlp_ratio": 4.0, "theta": 10000,
    "out_channels": 16, "qkv_bias": True, "txt_ids_dims": [], "in_channels": 16,
    "hidden_size": 3072, "context_in_dim": 4096, "patch_size": 2, "vec_in_dim": 768, "depth": 19,
    "depth_single_blocks": 38,
}  # fmt: skip
OVIS = FLUX | {
    "guidance_embed": False, "vec_in_dim": None, "context_in_dim": 2048, "yak_mlp": True,
    "txt_norm": True, "txt_ids_dims": [1, 2], "depth": 6, "depth_single_blocks": 27,
}  # fmt: skip
CHROMA = FLUX | {
    "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 3072, "hidden_dim": 5120,
    "n_layers": 5, "vec_in_dim": None,
}  # fmt: skip
RADIANCE = CHROMA | {
    "in_channels": 3, "out_channels": 3, "patch_size": 16, "nerf_hidden_size": 64,
    "nerf_mlp_ratio": 4, "nerf_depth": 4, "nerf_max_freqs": 8, "nerf_tile_size": 512,
    "nerf_final_head_type": "conv", "nerf_embedder_dtype": None, "use_x0": False,
    "use_sequential_txt_ids": False,
}  # fmt: skip
FLUX_2 = FLUX | {
    "axes_dim": [32, 32, 32, 32], "num_heads": 48, "mlp_ratio": 3.0, "out_channels": 128,
    "in_channels": 128, "hidden_size": 6144, "patch_size": 1, "qkv_bias": False,
    "ops_bias": False, "global_modulation": True, "mlp_silu_act": True, "vec_in_dim": None,
    "context_in_dim": 15360, "txt_ids_dims": [3], "depth": 8, "depth_single_blocks": 48,
    "guidance_embed": True,
}  # fmt: skip
KLEIN_9B = FLUX_2 | {
    "hidden_size": 4096, "num_heads": 32, "depth_single_blocks": 24, "context_in_dim": 12288,
    "guidance_embed": False,
}  # fmt: skip
KLEIN_4B = FLUX_2 | {
    "hidden_size": 3072, "num_heads": 24, "depth": 5, "depth_single_blocks": 20,
    "context_in_dim": 7680, "guidance_embed": False,
}  # fmt: skip
HUNYUAN_VIDEO = {
    "in_channels": 16, "patch_size": [1, 2, 2], "out_channels": 16, "vec_in_dim": 768,
    "axes_dim": [16, 56, 56], "meanflow": False, "context_in_dim": 4096, "hidden_size": 3072,
    "mlp_ratio": 4.0, "num_heads": 24, "depth": 20, "depth_single_blocks": 40, "theta": 256,
    "qkv_bias": True, "byt5": False, "guidance_embed": True, "use_cond_type_embedding": False,
    "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
HUNYUAN_VIDEO_15 = HUNYUAN_VIDEO | {
    "in_channels": 65, "patch_size": [1, 1, 1], "out_channels": 32, "vec_in_dim": None,
    "context_in_dim": 3584, "hidden_size": 2048, "num_heads": 16, "depth": 54,
    "depth_single_blocks": 0, "byt5": True, "guidance_embed": False, "vision_in_dim": 1152,
    "use_cond_type_embedding": True, "meanflow_sum": True,
}  # fmt: skip
HUNYUAN_IMAGE = HUNYUAN_VIDEO | {
    "in_channels": 64, "patch_size": [1, 1], "out_channels": 64, "vec_in_dim": None,
    "axes_dim": [64, 64], "context_in_dim": 3584, "hidden_size": 3584, "num_heads": 28,
    "byt5": True, "guidance_embed": False,
}  # fmt: skip
HUNYUAN_IMAGE_REFINER = HUNYUAN_VIDEO | {
    "in_channels": 128, "patch_size": [1, 1, 1], "out_channels": 64, "vec_in_dim": None,
    "context_in_dim": 3584, "hidden_size": 3328, "num_heads": 26, "guidance_embed": False,
}  # fmt: skip
SD3 = {
    "in_channels": 16, "patch_size": 2, "out_channels": 16, "depth": 24, "input_size": None,
    "adm_in_channels": 2048, "num_patches": 36864, "pos_embed_max_size": 192,
    "context_embedder_config": {
        "target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 1536},
    },
    "pos_embed_scaling_factor": None, "x_block_self_attn_layers": [],
}  # fmt: skip
SD35_LARGE = SD3 | {
    "depth": 38, "qk_norm": "rms",
    "context_embedder_config": {
        "target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 2432},
    },
}  # fmt: skip
SD35_MEDIUM = SD3 | {
    "num_patches": 147456, "pos_embed_max_size": 384, "qk_norm": "rms",
    "x_block_self_attn_layers": list(range(13)),
}  # fmt: skip
WAN = {
    "dim": 5120, "out_dim": 16, "num_heads": 40, "ffn_dim": 13824, "num_layers": 40,
    "patch_size": (1, 2, 2), "freq_dim": 256, "window_size": (-1, -1), "qk_norm": True,
    "cross_attn_norm": True, "eps": 1e-6, "in_dim": 16,
}  # fmt: skip
WAN_1B = WAN | {"dim": 1536, "num_heads": 12, "ffn_dim": 8960, "num_layers": 30}
WAN_5B = WAN | {
    "dim": 3072, "num_heads": 24, "ffn_dim": 14336, "num_layers": 30, "in_dim": 48, "out_dim": 48,
}  # fmt: skip
LUMINA = {
    "patch_size": 2, "in_channels": 16, "dim": 2304, "cap_feat_dim": 2304, "n_layers": 26,
    "qk_norm": True, "n_heads": 24, "n_kv_heads": 8, "axes_dims": [32, 32, 32],
    "axes_lens": [300, 512, 512], "rope_theta": 10000.0, "ffn_dim_multiplier": 4.0,
}  # fmt: skip
Z_IMAGE = LUMINA | {
    "dim": 3840, "cap_feat_dim": 2560, "n_heads": 30, "n_kv_heads": 30, "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512], "rope_theta": 256.0, "ffn_dim_multiplier": 8.0 / 3.0,
    "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32, "n_layers": 30,
}  # fmt: skip
Z_IMAGE_PIXELS = Z_IMAGE | {
    "patch_size": 32, "in_channels": 3, "decoder_in_channels": 3072, "decoder_hidden_size": 3840,
    "decoder_num_res_blocks": 4, "decoder_max_freqs": 8,
}  # fmt: skip
PIXART = {
    "num_heads": 16, "patch_size": 2, "hidden_size": 1152, "in_channels": 4, "depth": 28,
    "model_max_length": 300, "input_size": 128, "pe_interpolation": 2, "micro_condition": False,
}  # fmt: skip
PIXART_ALPHA = PIXART | {"micro_condition": True, "model_max_length": 120}
HIDREAM = {
    "attention_head_dim": 128, "axes_dims_rope": [64, 32, 32], "caption_channels": [4096, 4096],
    "max_resolution": [128, 128], "in_channels": 16, "num_attention_heads": 20,
    "llama_layers": [*range(32), *[31] * 16], "num_routed_experts": 4, "num_activated_experts": 2,
    "num_layers": 16, "num_single_layers": 32, "out_channels": 16, "patch_size": 2,
    "text_emb_dim": 2048,
}  # fmt: skip
OMNIGEN = {
    "axes_dim_rope": [40, 40, 40], "axes_lens": [1024, 1664, 1664], "ffn_dim_multiplier": None,
    "hidden_size": 2520, "in_channels": 16, "multiple_of": 256, "norm_eps": 1e-05,
    "num_attention_heads": 21, "num_kv_heads": 7, "num_layers": 32, "num_refiner_layers": 2,
    "out_channels": None, "patch_size": 2, "text_feat_dim": 2048, "timestep_scale": 1000.0,
}  # fmt: skip
MOCHI = {
    "depth": 48, "patch_size": 2, "num_heads": 24, "hidden_size_x": 3072, "hidden_size_y": 1536,
    "mlp_ratio_x": 4.0, "mlp_ratio_y": 4.0, "learn_sigma": False, "in_channels": 12,
    "qk_norm": True, "qkv_bias": False, "out_bias": True, "attn_drop": 0.0,
    "patch_embed_bias": True, "posenc_preserve_area": True, "timestep_mlp_bias": True,
    "attend_to_padding": False, "timestep_scale": 1000.0, "use_t5": True, "t5_feat_dim": 4096,
    "t5_token_length": 256, "rope_theta": 10000.0,
}  # fmt: skip
COSMOS = {
    "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16,
    "patch_spatial": 2, "patch_temporal": 1, "model_channels": 4096, "concat_padding_mask": True,
    "block_config": "FA-CA-MLP", "pos_emb_cls": "rope3d", "pos_emb_learnable": False,
    "pos_emb_interpolation": "crop", "block_x_format": "THWBD", "affline_emb_norm": True,
    "use_adaln_lora": True, "adaln_lora_dim": 256, "num_blocks": 28, "num_heads": 32,
    "extra_per_block_abs_pos_emb": True, "extra_per_block_abs_pos_emb_type": "learnable",
    "crossattn_emb_channels": 1024,
}  # fmt: skip
COSMOS_14B = COSMOS | {"model_channels": 5120, "num_blocks": 36, "num_heads": 40}
COSMOS_2 = {
    "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16,
    "patch_spatial": 2, "patch_temporal": 1, "model_channels": 2048, "concat_padding_mask": True,
    "crossattn_emb_channels": 1024, "pos_emb_cls": "rope3d", "pos_emb_learnable": True,
    "pos_emb_interpolation": "crop", "use_adaln_lora": True, "adaln_lora_dim": 256,
    "num_blocks": 28, "num_heads": 16, "extra_per_block_abs_pos_emb": False,
}  # fmt: skip
COSMOS_2_14B = COSMOS_2 | {"model_channels": 5120, "num_blocks": 36, "num_heads": 40}
COGVIDEOX = {
    "num_attention_heads": 30, "attention_head_dim": 64, "time_embed_dim": 512, "num_layers": 30,
    "in_channels": 16, "patch_size": 2, "text_embed_dim": 4096,
    "use_learned_positional_embeddings": False, "use_rotary_positional_embeddings": True,
}  # fmt: skip
COGVIDEOX_5B = COGVIDEOX | {"num_attention_heads": 48, "num_layers": 42}
COGVIDEOX_15 = COGVIDEOX_5B | {"patch_size_t": 2, "in_channels": 32, "ofs_embed_dim": 512}
ACE_STEP = {
    "attention_head_dim": 128, "in_channels": 8, "inner_dim": 2560, "max_height": 16,
    "max_position": 32768, "max_width": 32768, "mlp_ratio": 2.5, "num_attention_heads": 20,
    "num_layers": 24, "out_channels": 8, "patch_size": [16, 1], "rope_theta": 1e6,
    "speaker_embedding_dim": 512, "text_embedding_dim": 768, "ssl_encoder_depths": [8, 8],
    "ssl_latent_dims": [1024, 768], "ssl_names": ["mert", "m-hubert"],
    "lyric_encoder_vocab_size": 6693, "lyric_hidden_size": 1024,
}  # fmt: skip
STABLE_AUDIO = {
    "global_cond_dim": 1536, "project_cond_tokens": False, "embed_dim": 1536, "io_channels": 64,
    "input_concat_dim": 0, "depth": 24, "num_heads": 24, "timestep_features_type": "learned",
    "cond_token_dim": 768,
}  # fmt: skip
STABLE_AUDIO_3 = STABLE_AUDIO | {
    "attn_kwargs": {"qk_norm": "rms", "differential": False}, "norm_type": "rms_norm",
    "global_cond_shared_embed": True, "global_cond_type": "adaLN", "num_memory_tokens": 64,
    "timestep_features_type": "expo",
}  # fmt: skip
HUNYUAN_3D = {
    "in_channels": 64, "context_in_dim": 1536, "hidden_size": 1024, "mlp_ratio": 4.0,
    "num_heads": 16, "depth": 16, "depth_single_blocks": 32, "qkv_bias": True,
    "guidance_embed": False,
}  # fmt: skip
HUNYUAN_3D_21 = {
    "in_channels": 64, "context_dim": 1024, "hidden_size": 2048, "mlp_ratio": 4.0,
    "num_heads": 16, "depth": 21, "qkv_bias": False, "guidance_cond_proj_dim": None,
}  # fmt: skip
LTX_23 = {
    "num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096,
    "apply_gated_attention": True, "cross_attention_adaln": True,
    "caption_proj_before_connector": True,
}  # fmt: skip
KANDINSKY = {"num_text_blocks": 2, "num_visual_blocks": 32}
KANDINSKY_PRO = {
    "num_text_blocks": 4, "num_visual_blocks": 60, "model_dim": 4096, "ff_dim": 16384,
    "time_dim": 1024, "axes_dims": (32, 48, 48),
}  # fmt: skip
KANDINSKY_IMAGE = {
    "num_text_blocks": 2, "num_visual_blocks": 50, "ff_dim": 10240, "axes_dims": (32, 48, 48),
    "rope_scale_factor": (1.0, 1.0, 1.0),
}  # fmt: skip
SEED_VR = {
    "vid_dim": 2560, "heads": 20, "num_layers": 32, "norm_eps": 1e-5, "mlp_type": "swiglu",
    "vid_out_norm": True,
}  # fmt: skip

MODELS = {
    "SD1.5": ("SD15", SD15),
    "SD2": ("SD20", SD20),
    "SDXL": ("SDXL", SDXL),
    "SSD-1B": ("SSD1B", SSD_1B),
    "Segmind Vega": ("Segmind_Vega", VEGA),
    "KOALA 700M": ("KOALA_700M", KOALA_700M),
    "KOALA 1B": ("KOALA_1B", KOALA_1B),
    "SDXL refiner": ("SDXLRefiner", REFINER),
    "SVD": ("SVD_img2vid", SVD),
    "Stable Cascade C": ("Stable_Cascade_C", {"c_cond": 2048}),
    "Stable Cascade C lite": (
        "Stable_Cascade_C",
        {
            "c_cond": 1536, "c_hidden": [1536, 1536], "nhead": [24, 24],
            "blocks": [[4, 12], [12, 4]],
        },
    ),
    "SD3 medium": ("SD3", SD3),
    "SD3.5 large": ("SD3", SD35_LARGE),
    "SD3.5 medium": ("SD3", SD35_MEDIUM),
    "Stable Audio": ("StableAudio", STABLE_AUDIO),
    "Stable Audio 3": ("StableAudio3", STABLE_AUDIO_3),
    "AuraFlow": (
        "AuraFlow",
        {"max_seq": 9216, "cond_seq_dim": 2048, "n_double_layers": 4, "n_layers": 36},
    ),
    "PixArt Alpha": ("PixArtAlpha", PIXART_ALPHA),
    "PixArt Sigma": ("PixArtSigma", PIXART),
    "HunyuanDiT": ("HunyuanDiT", {"depth": 40, "hidden_size": 1408, "mlp_ratio": 4.3637}),
    "HunyuanDiT 1.1": (
        "HunyuanDiT1",
        {
            "depth": 40, "hidden_size": 1408, "mlp_ratio": 4.3637, "size_cond": True,
            "use_style_cond": True,
        },
    ),
    "Flux": ("Flux", FLUX | {"guidance_embed": True}),
    "Flux schnell": ("FluxSchnell", FLUX | {"guidance_embed": False}),
    "LongCat-Image": (
        "LongCatImage",
        FLUX | {"depth": 10, "depth_single_blocks": 20, "context_in_dim": 3584, "vec_in_dim": None,
                "guidance_embed": False},
    ),
    "Ovis-Image": ("FluxSchnell", OVIS),
    "Flux.2 dev": ("Flux2", FLUX_2),
    "Flux.2 klein 9B": ("Flux2", KLEIN_9B),
    "Flux.2 klein 4B": ("Flux2", KLEIN_4B),
    "Lens": ("Lens", {}),
    "Mochi": ("GenmoMochi", MOCHI),
    "LTX-Video 2B": (
        "LTXV", {"num_layers": 28, "attention_head_dim": 64, "cross_attention_dim": 2048},
    ),
    "LTX-Video 13B": (
        "LTXV", {"num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096},
    ),
    "LTX-2": (
        "LTXAV", {"num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096},
    ),
    "LTX-2.3": ("LTXAV", LTX_23),
    "MiniMax H3": ("MiniMaxH3", {}),
    "HunyuanVideo": ("HunyuanVideo", HUNYUAN_VIDEO),
    "HunyuanVideo 1.5": ("HunyuanVideo15", HUNYUAN_VIDEO_15),
    "HunyuanImage 2.1": ("HunyuanImage21", HUNYUAN_IMAGE),
    "HunyuanImage 2.1 refiner": ("HunyuanImage21Refiner", HUNYUAN_IMAGE_REFINER),
    "Cosmos 1 7B": ("CosmosT2V", COSMOS),
    "Cosmos 1 14B": ("CosmosT2V", COSMOS_14B),
    "Cosmos Predict2 2B": ("CosmosT2IPredict2", COSMOS_2),
    "Cosmos Predict2 14B": ("CosmosT2IPredict2", COSMOS_2_14B),
    "Anima": ("Anima", COSMOS_2),
    "Lumina 2": ("Lumina2", LUMINA),
    "NewBie": ("Lumina2", LUMINA | {"clip_text_dim": 1024, "n_layers": 36, "cap_feat_dim": 2560}),
    "Z-Image": ("ZImage", Z_IMAGE),
    "Z-Image Omni": ("ZImage", Z_IMAGE | {"siglip_feat_dim": 1152}),
    "Z-Image pixels": ("ZImagePixelSpace", Z_IMAGE_PIXELS),
    "Wan 14B": ("WAN21_T2V", WAN),
    "Wan 1.3B": ("WAN21_T2V", WAN_1B),
    "Wan 5B": ("WAN22_T2V", WAN_5B),
    "Wan image-to-video": ("WAN21_I2V", WAN | {"in_dim": 36}),
    "Wan first and last frame": (
        "WAN21_I2V", WAN | {"in_dim": 36, "flf_pos_embed_token_number": 514},
    ),
    "Wan Fun Control": ("WAN21_FunControl2V", WAN | {"in_dim": 48, "in_dim_ref_conv": 16}),
    "Wan Camera": ("WAN21_Camera", WAN | {"in_dim": 32}),
    "Wan 2.2 Camera": ("WAN22_Camera", WAN | {"in_dim": 36}),
    "Wan VACE": ("WAN21_Vace", WAN | {"vace_in_dim": 96, "vace_layers": 8}),
    "Wan VACE 1.3B": ("WAN21_Vace", WAN_1B | {"vace_in_dim": 96, "vace_layers": 15}),
    "Wan HuMo": ("WAN21_HuMo", WAN | {"in_dim": 36}),
    "Wan S2V": ("WAN22_S2V", WAN),
    "Wan Animate": ("WAN22_Animate", WAN | {"in_dim": 36}),
    "Wan Animate 2": ("WAN_Animate2", WAN | {"in_dim": 36}),
    "Wan SCAIL": ("WAN21_SCAIL", WAN | {"in_dim": 20}),
    "Wan SCAIL 2": ("WAN21_SCAIL2", WAN | {"in_dim": 20}),
    "WanDancer": ("WAN22_WanDancer", WAN | {"in_dim": 36}),
    "Hunyuan3D 2": ("Hunyuan3Dv2", HUNYUAN_3D),
    "Hunyuan3D 2 mini": (
        "Hunyuan3Dv2mini", HUNYUAN_3D | {"depth": 8, "depth_single_blocks": 16},
    ),
    "Hunyuan3D 2.1": ("Hunyuan3Dv2_1", HUNYUAN_3D_21),
    "HiDream": ("HiDream", HIDREAM),
    "HiDream-O1": ("HiDreamO1", {}),
    "Chroma": ("Chroma", CHROMA),
    "Chroma Radiance": ("ChromaRadiance", RADIANCE),
    "ACE-Step": ("ACEStep", ACE_STEP),
    "ACE-Step 1.5": ("ACEStep15", {}),
    "OmniGen2": ("Omnigen2", OMNIGEN),
    "Boogu": ("Boogu", {}),
    "MageFlow": ("MageFlow", {"num_layers": 12}),
    "Qwen-Image": ("QwenImage", {"num_layers": 60}),
    "Qwen-Image Layered": ("QwenImage", {"num_layers": 60, "use_additional_t_cond": True}),
    "JoyImage": ("JoyImage", {}),
    "Ideogram 4": ("Ideogram4", {}),
    "Krea 2": ("Krea2", {"layers": 28}),
    "Kandinsky 5 lite": ("Kandinsky5", KANDINSKY),
    "Kandinsky 5 pro": ("Kandinsky5", KANDINSKY_PRO),
    "Kandinsky 5 image": ("Kandinsky5Image", KANDINSKY_IMAGE),
    "ERNIE-Image": ("ErnieImage", {}),
    "CogVideoX 2B": ("CogVideoX_T2V", COGVIDEOX),
    "CogVideoX 5B": ("CogVideoX_T2V", COGVIDEOX_5B),
    "CogVideoX 1.5": ("CogVideoX_T2V", COGVIDEOX_15),
}  # fmt: skip

SAME = "the same names as {}".format
LEFT_OUT = {
    "LotusD": SAME("SD2"),
    "Stable_Zero123": SAME("SD1.5"),
    "SD15_instructpix2pix": SAME("SD1.5"),
    "SD21UnclipL": SAME("SD2"),
    "SD21UnclipH": SAME("SD2"),
    "SDXL_instructpix2pix": SAME("SDXL"),
    "SV3D_u": SAME("SVD"),
    "SV3D_p": SAME("SVD"),
    "FluxInpaint": SAME("Flux"),
    "HunyuanVideo15_SR_Distilled": SAME("HunyuanVideo 1.5"),
    "HunyuanVideoSkyreelsI2V": SAME("HunyuanVideo"),
    "HunyuanVideoI2V": SAME("HunyuanVideo"),
    "CosmosI2V": SAME("Cosmos 1"),
    "CosmosI2VPredict2": SAME("Cosmos Predict2"),
    "WAN21_CausalAR_T2V": SAME("Wan"),
    "WAN21_FlowRVS": SAME("Wan"),
    "CogVideoX_I2V": SAME("CogVideoX"),
    "CogVideoX_Inpaint": SAME("CogVideoX"),
    "Stable_Cascade_B": "as Stable_Cascade_C, for the latents that it makes",
    **OUTSIDE,
}

ENCODERS = "comfy.text_encoders."
TEXT_ENCODERS = {
    "SD1.5": ("comfy.sd1_clip", "SD1ClipModel", {}),
    "SD2": (ENCODERS + "sd2_clip", "SD2ClipModel", {}),
    "SDXL": ("comfy.sdxl_clip", "SDXLClipModel", {}),
    "SDXL refiner": ("comfy.sdxl_clip", "SDXLRefinerClipModel", {}),
    "Stable Cascade": ("comfy.sdxl_clip", "StableCascadeClipModel", {}),
    "SD3": (ENCODERS + "sd3_clip", "SD3ClipModel", {}),
    "Flux": (ENCODERS + "flux", "FluxClipModel", {}),
    "Flux.2": (ENCODERS + "flux", "flux2_te", {}),
    "Flux.2 klein 4B": (ENCODERS + "flux", "klein_te", {}),
    "Flux.2 klein 9B": (ENCODERS + "flux", "klein_te", {"model_type": "qwen3_8b"}),
    "PixArt": (ENCODERS + "pixart_t5", "pixart_te", {}),
    "AuraFlow": (ENCODERS + "aura_t5", "AuraT5Model", {}),
    "HunyuanDiT": (ENCODERS + "hydit", "HyditModel", {}),
    "Mochi": (ENCODERS + "genmo", "mochi_te", {}),
    "LTX-Video": (ENCODERS + "lt", "ltxv_te", {}),
    "LTX-2": (ENCODERS + "lt", "ltxav_te", {}),
    "HunyuanVideo": (ENCODERS + "hunyuan_video", "hunyuan_video_clip", {}),
    "HunyuanImage 2.1": (ENCODERS + "hunyuan_image", "te", {}),
    "Cosmos": (ENCODERS + "cosmos", "te", {}),
    "Anima": (ENCODERS + "anima", "te", {}),
    "Lumina 2": (ENCODERS + "lumina2", "te", {}),
    "NewBie": (ENCODERS + "newbie", "te", {}),
    "Z-Image": (ENCODERS + "z_image", "te", {}),
    "Wan": (ENCODERS + "wan", "te", {}),
    "HiDream": (ENCODERS + "hidream", "hidream_clip", {}),
    "ACE-Step": (ENCODERS + "ace", "AceT5Model", {}),
    "ACE-Step 1.5": (ENCODERS + "ace15", "te", {}),
    "OmniGen2": (ENCODERS + "omnigen2", "te", {}),
    "Boogu": (ENCODERS + "boogu", "te", {}),
    "MageFlow": (ENCODERS + "mage_flow", "te", {}),
    "Qwen-Image": (ENCODERS + "qwen_image", "te", {}),
    "JoyImage": (ENCODERS + "joyimage", "te", {}),
    "Ideogram 4": (ENCODERS + "ideogram4", "te", {}),
    "Krea 2": (ENCODERS + "krea2", "te", {}),
    "Kandinsky 5": (ENCODERS + "kandinsky5", "te", {}),
    "ERNIE-Image": (ENCODERS + "ernie", "te", {}),
    "LongCat-Image": (ENCODERS + "longcat_image", "te", {}),
    "Ovis-Image": (ENCODERS + "ovis", "te", {}),
    "Lens": (ENCODERS + "gpt_oss", "lens_te", {}),
    "CogVideoX": (ENCODERS + "cogvideo", "cogvideo_te", {}),
    "Stable Audio": (ENCODERS + "sa_t5", "SAT5Model", {}),
    "Stable Audio 3": (ENCODERS + "sa3", "SAT5GemmaModel", {}),
    "MiniMax H3": (ENCODERS + "minimax", "te", {}),
}
