"""The models of diffusers at the sizes of those in `comfyui_models.py`. Plain data.

`MODELS`: the model's name there -> (diffusers' class, its settings beyond the defaults).
`LEFT_OUT`: the model's name there -> why diffusers has no names for it.
"""

SDXL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048,
    "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
REFINER = SDXL | {
    "down_block_types": (
        "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D",
    ),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (384, 768, 1536, 1536), "transformer_layers_per_block": 4,
    "attention_head_dim": (6, 12, 24, 24), "cross_attention_dim": 1280,
    "projection_class_embeddings_input_dim": 2560,
}  # fmt: skip
VEGA = SDXL | {
    "transformer_layers_per_block": (1, 1, 2), "mid_block_type": "UNetMidBlock2D",
    "reverse_transformer_layers_per_block": ((2, 2, 2), (1, 1, 1), (1, 1, 1)),
}  # fmt: skip
SSD_1B = SDXL | {
    "transformer_layers_per_block": (1, 2, 4), "mid_block_type": "UNetMidBlock2D",
    "reverse_transformer_layers_per_block": ((4, 4, 10), (2, 1, 1), (1, 1, 1)),
}  # fmt: skip
KOALA_700M = SDXL | {
    "transformer_layers_per_block": (1, 2, 5), "mid_block_type": None, "layers_per_block": 1,
}  # fmt: skip
KOALA_1B = SDXL | {"transformer_layers_per_block": (1, 2, 6), "layers_per_block": 1}
WAN_1B = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
WAN_IMAGE = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
PIXART = {"sample_size": 128, "caption_channels": 4096}
COSMOS_2 = {
    "in_channels": 17, "num_attention_heads": 16, "num_layers": 28, "extra_pos_embed_type": None,
    "concat_padding_mask": False,
}  # fmt: skip
FLUX_2 = "Flux2Transformer2DModel"
WAN = "WanTransformer3DModel"

MODELS = {
    "SD1.5": ("UNet2DConditionModel", {"cross_attention_dim": 768}),
    "SD2": (
        "UNet2DConditionModel",
        {
            "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
    ),
    "SDXL": ("UNet2DConditionModel", SDXL),
    "SDXL refiner": ("UNet2DConditionModel", REFINER),
    "SSD-1B": ("UNet2DConditionModel", SSD_1B),
    "Segmind Vega": ("UNet2DConditionModel", VEGA),
    "KOALA 700M": ("UNet2DConditionModel", KOALA_700M),
    "KOALA 1B": ("UNet2DConditionModel", KOALA_1B),
    "SVD": (
        "UNetSpatioTemporalConditionModel",
        {"num_attention_heads": (5, 10, 20, 20), "cross_attention_dim": 1024},
    ),
    "SD3 medium": (
        "SD3Transformer2DModel",
        {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
         "pos_embed_max_size": 192},
    ),
    "SD3.5 medium": (
        "SD3Transformer2DModel",
        {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
         "pos_embed_max_size": 384, "qk_norm": "rms_norm",
         "dual_attention_layers": tuple(range(13))},
    ),
    "SD3.5 large": (
        "SD3Transformer2DModel",
        {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432,
         "pos_embed_max_size": 192, "qk_norm": "rms_norm"},
    ),
    "AuraFlow": ("AuraFlowTransformer2DModel", {"pos_embed_max_size": 9216}),
    "PixArt Alpha": ("PixArtTransformer2DModel", PIXART | {"use_additional_conditions": True}),
    "PixArt Sigma": ("PixArtTransformer2DModel", PIXART | {"use_additional_conditions": False}),
    "HunyuanDiT": (
        "HunyuanDiT2DModel",
        {"num_attention_heads": 16, "attention_head_dim": 88, "in_channels": 4, "patch_size": 2,
         "sample_size": 128, "hidden_size": 1408, "num_layers": 40, "mlp_ratio": 4.3637,
         "learn_sigma": True, "cross_attention_dim": 1024, "cross_attention_dim_t5": 2048,
         "activation_fn": "gelu-approximate", "use_style_cond_and_image_meta_size": False},
    ),
    "HunyuanDiT 1.1": (
        "HunyuanDiT2DModel",
        {"num_attention_heads": 16, "attention_head_dim": 88, "in_channels": 4, "patch_size": 2,
         "sample_size": 128, "hidden_size": 1408, "num_layers": 40, "mlp_ratio": 4.3637,
         "learn_sigma": True, "cross_attention_dim": 1024, "cross_attention_dim_t5": 2048,
         "activation_fn": "gelu-approximate"},
    ),
    "Flux": ("FluxTransformer2DModel", {"guidance_embeds": True}),
    "Flux schnell": ("FluxTransformer2DModel", {}),
    "Ovis-Image": ("OvisImageTransformer2DModel", {}),
    "LongCat-Image": (
        "LongCatImageTransformer2DModel", {"num_layers": 10, "num_single_layers": 20},
    ),
    "Flux.2 dev": (FLUX_2, {}),
    "Flux.2 klein 9B": (
        FLUX_2,
        {"num_attention_heads": 32, "num_single_layers": 24, "joint_attention_dim": 12288,
         "guidance_embeds": False},
    ),
    "Flux.2 klein 4B": (
        FLUX_2,
        {"num_attention_heads": 24, "num_layers": 5, "num_single_layers": 20,
         "joint_attention_dim": 7680, "guidance_embeds": False},
    ),
    "Mochi": ("MochiTransformer3DModel", {}),
    "LTX-Video 2B": ("LTXVideoTransformer3DModel", {}),
    "LTX-Video 13B": (
        "LTXVideoTransformer3DModel",
        {"num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096},
    ),
    "LTX-2": ("LTX2VideoTransformer3DModel", {}),
    "LTX-2.3": (
        "LTX2VideoTransformer3DModel",
        {"gated_attn": True, "cross_attn_mod": True, "audio_gated_attn": True,
         "audio_cross_attn_mod": True, "use_prompt_embeddings": False},
    ),
    "MiniMax H3": ("MiniMaxH3Transformer3DModel", {}),
    "HunyuanVideo": ("HunyuanVideoTransformer3DModel", {}),
    "HunyuanVideo 1.5": ("HunyuanVideo15Transformer3DModel", {}),
    "HunyuanImage 2.1": ("HunyuanImageTransformer2DModel", {"text_embed_2_dim": 1472}),
    "HunyuanImage 2.1 refiner": (
        "HunyuanImageTransformer2DModel",
        {"in_channels": 128, "num_attention_heads": 26, "patch_size": (1, 1, 1),
         "rope_axes_dim": (16, 56, 56)},
    ),
    "Cosmos 1 7B": ("CosmosTransformer3DModel", {}),
    "Cosmos 1 14B": ("CosmosTransformer3DModel", {"num_attention_heads": 40, "num_layers": 36}),
    "Cosmos Predict2 2B": ("CosmosTransformer3DModel", COSMOS_2),
    "Cosmos Predict2 14B": (
        "CosmosTransformer3DModel", COSMOS_2 | {"num_attention_heads": 40, "num_layers": 36},
    ),
    "Anima": ("CosmosTransformer3DModel", COSMOS_2),
    "Lumina 2": (
        "Lumina2Transformer2DModel", {"cap_feat_dim": 2304},
    ),
    "Z-Image": ("ZImageTransformer2DModel", {}),
    "Z-Image Omni": ("ZImageTransformer2DModel", {"siglip_feat_dim": 1152}),
    "Wan 14B": (WAN, {}),
    "Wan 1.3B": (WAN, WAN_1B),
    "Wan 5B": (
        WAN,
        {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30, "in_channels": 48,
         "out_channels": 48},
    ),
    "Wan image-to-video": (WAN, WAN_IMAGE),
    "Wan first and last frame": (WAN, WAN_IMAGE | {"pos_embed_seq_len": 514}),
    "Wan VACE": ("WanVACETransformer3DModel", {}),
    "Wan VACE 1.3B": (
        "WanVACETransformer3DModel", WAN_1B | {"vace_layers": list(range(0, 30, 2))},
    ),
    "Wan Animate": ("WanAnimateTransformer3DModel", {"added_kv_proj_dim": 5120}),
    "Wan Animate 2": ("WanAnimate2Transformer3DModel", {}),
    "HiDream": (
        "HiDreamImageTransformer2DModel",
        {"patch_size": 2, "in_channels": 16, "caption_channels": [4096, 4096],
         "llama_layers": [*range(32), *[31] * 16], "axes_dims_rope": (64, 32, 32)},
    ),
    "Chroma": ("ChromaTransformer2DModel", {}),
    "ACE-Step 1.5": ("AceStepTransformer1DModel", {}),
    "Qwen-Image": ("QwenImageTransformer2DModel", {}),
    "Qwen-Image Layered": ("QwenImageTransformer2DModel", {"use_additional_t_cond": True}),
    "JoyImage": ("JoyImageEditTransformer3DModel", {}),
    "Ideogram 4": ("Ideogram4Transformer2DModel", {}),
    "Krea 2": ("Krea2Transformer2DModel", {}),
    "Kandinsky 5 lite": (
        "Kandinsky5Transformer3DModel",
        {"in_visual_dim": 16, "out_visual_dim": 16, "model_dim": 1792, "ff_dim": 7168,
         "visual_cond": True},
    ),
    "Kandinsky 5 pro": (
        "Kandinsky5Transformer3DModel",
        {"in_visual_dim": 16, "out_visual_dim": 16, "model_dim": 4096, "ff_dim": 16384,
         "num_text_blocks": 4, "num_visual_blocks": 60, "time_dim": 1024, "visual_cond": True},
    ),
    "Kandinsky 5 image": (
        "Kandinsky5Transformer3DModel",
        {"in_visual_dim": 16, "out_visual_dim": 16, "model_dim": 2560, "ff_dim": 10240,
         "num_visual_blocks": 50},
    ),
    "ERNIE-Image": (
        "ErnieImageTransformer2DModel",
        {"hidden_size": 4096, "num_attention_heads": 32, "num_layers": 36,
         "ffn_hidden_size": 12288, "text_in_dim": 3072},
    ),
    "CogVideoX 2B": ("CogVideoXTransformer3DModel", {}),
    "CogVideoX 5B": (
        "CogVideoXTransformer3DModel", {"num_attention_heads": 48, "num_layers": 42},
    ),
    "CogVideoX 1.5": (
        "CogVideoXTransformer3DModel",
        {"num_attention_heads": 48, "num_layers": 42, "patch_size_t": 2, "in_channels": 32,
         "ofs_embed_dim": 512},
    ),
    "Stable Audio": ("StableAudioDiTModel", {}),
    "Stable Cascade C": (
        "StableCascadeUNet",
        {"clip_text_in_channels": 1280, "clip_image_in_channels": 768, "switch_level": (False,)},
    ),
}  # fmt: skip

NOT_THERE = "diffusers has no such model"
LEFT_OUT = {
    **dict.fromkeys(
        (
            *("Lens", "Wan Fun Control", "Wan Camera", "Wan 2.2 Camera", "Wan HuMo", "Wan S2V"),
            *("Wan SCAIL", "Wan SCAIL 2", "WanDancer", "Hunyuan3D 2", "Hunyuan3D 2 mini"),
            *("Hunyuan3D 2.1", "HiDream-O1", "Chroma Radiance", "ACE-Step", "Boogu", "MageFlow"),
            *("NewBie", "Z-Image pixels", "Stable Audio 3", "OmniGen2"),
            "Stable Cascade C lite",
        ),
        NOT_THERE,
    ),
}
