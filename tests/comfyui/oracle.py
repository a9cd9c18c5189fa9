"""What ComfyUI's own code says about LoRA keys and weights; for its Python, in its folder.

python oracle.py keys ANSWER.json
    {model: [[name, weight, [dimension, start, length] or null, swapped, shape], ...]}: every
    name that ComfyUI's loader accepts for a weight, in its order, for the models below as far as
    this ComfyUI has them, built on the meta device. They are cut down to a few blocks (names
    repeat) of the real width.
python oracle.py small ANSWER.json
    The same for small models of families that fuse, split and reorder weights.
python oracle.py patched FOLDER
    For every <small model>.<name>.safetensors in FOLDER: the changes of the model's weights, as
    ComfyUI's key map, loader and patcher make them, as FOLDER/patched/<the same name>.
python oracle.py changes FOLDER
    For every <name>.safetensors in FOLDER and the weights in FOLDER/base/<name>.safetensors
    (key: a module's raw name in the file, with .bias for a bias): the weights after ComfyUI's
    loader and patcher at strength 1, minus before, as FOLDER/changes/<name>.safetensors. What
    ComfyUI logged as an error is in FOLDER/errors.json: {"<name>: <raw>": [line]}. Its names
    for the keys of FOLDER/renamed/*.safetensors are in FOLDER/renamed.json: {name: [key]}.
"""

# ruff: noqa: E402 - ComfyUI takes its settings when it is imported

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, ".")
import comfy.cli_args

comfy.cli_args.args.cpu = True

import comfy.lora
import comfy.lora_convert
import comfy.model_management
import comfy.ops
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.supported_models as models
import comfy.text_encoders.flux
import comfy.text_encoders.sd2_clip
import comfy.text_encoders.sd3_clip
import torch
from safetensors.torch import load_file, save_file

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
SDXL = UNET | {
    "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "context_dim": 2048,
    "transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "adm_in_channels": 2816,
    "use_linear_in_transformer": True, "num_head_channels": 64, "num_classes": "sequential",
}  # fmt: skip
REFINER = UNET | {
    "model_channels": 384, "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4],
    "context_dim": 1280, "transformer_depth": [0, 0, 4, 4, 4, 4, 0, 0],
    "transformer_depth_middle": 4, "adm_in_channels": 2560, "use_linear_in_transformer": True,
    "transformer_depth_output": [0, 0, 0, 4, 4, 4, 4, 4, 4, 0, 0, 0], "num_head_channels": 64,
    "num_classes": "sequential",
}  # fmt: skip
FLUX = {
    "axes_dim": [16, 56, 56], "num_heads": 24, "mlp_ratio": 4.0, "theta": 10000,
    "out_channels": 16, "qkv_bias": True, "txt_ids_dims": [], "in_channels": 16,
    "hidden_size": 3072, "context_in_dim": 4096, "patch_size": 2, "vec_in_dim": 768, "depth": 2,
    "depth_single_blocks": 2, "guidance_embed": True,
}  # fmt: skip
CHROMA = {key: value for key, value in FLUX.items() if key != "guidance_embed"} | {
    "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 3072, "hidden_dim": 5120,
    "n_layers": 5,
}  # fmt: skip
FLUX_2 = FLUX | {
    "axes_dim": [32, 32, 32, 32], "num_heads": 48, "mlp_ratio": 3.0, "out_channels": 128,
    "in_channels": 128, "hidden_size": 6144, "patch_size": 1, "qkv_bias": False,
    "ops_bias": False, "global_modulation": True, "mlp_silu_act": True, "vec_in_dim": None,
    "context_in_dim": 15360, "txt_ids_dims": [3],
}  # fmt: skip
HUNYUAN_VIDEO = {
    "in_channels": 16, "patch_size": [1, 2, 2], "out_channels": 16, "vec_in_dim": 768,
    "axes_dim": [16, 56, 56], "meanflow": False, "context_in_dim": 4096, "hidden_size": 3072,
    "mlp_ratio": 4.0, "num_heads": 24, "depth": 2, "depth_single_blocks": 2, "theta": 256,
    "qkv_bias": True, "byt5": False, "guidance_embed": True, "use_cond_type_embedding": False,
    "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
SD3 = {
    "in_channels": 16, "patch_size": 2, "out_channels": 16, "depth": 38, "input_size": None,
    "adm_in_channels": 2048, "num_patches": 36864, "pos_embed_max_size": 192, "qk_norm": "rms",
    "context_embedder_config": {
        "target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 2432},
    },
    "pos_embed_scaling_factor": None, "x_block_self_attn_layers": [],
}  # fmt: skip
SD35_MEDIUM = SD3 | {
    "depth": 24, "num_patches": 147456, "pos_embed_max_size": 384,
    "x_block_self_attn_layers": list(range(13)),
    "context_embedder_config": {
        "target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 1536},
    },
}  # fmt: skip
WAN = {
    "dim": 5120, "out_dim": 16, "num_heads": 40, "ffn_dim": 13824, "num_layers": 2,
    "patch_size": (1, 2, 2), "freq_dim": 256, "window_size": (-1, -1), "qk_norm": True,
    "cross_attn_norm": True, "eps": 1e-6, "in_dim": 16,
}  # fmt: skip
LUMINA = {
    "patch_size": 2, "in_channels": 16, "dim": 2304, "cap_feat_dim": 2304, "n_layers": 2,
    "qk_norm": True, "n_heads": 24, "n_kv_heads": 8, "axes_dims": [32, 32, 32],
    "axes_lens": [300, 512, 512], "rope_theta": 10000.0, "ffn_dim_multiplier": 4.0,
}  # fmt: skip
Z_IMAGE = LUMINA | {
    "dim": 3840, "cap_feat_dim": 2560, "n_heads": 30, "n_kv_heads": 30, "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512], "rope_theta": 256.0, "ffn_dim_multiplier": 8.0 / 3.0,
    "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32,
}  # fmt: skip
LTX = {"num_layers": 2, "attention_head_dim": 64, "cross_attention_dim": 2048}
PIXART = {
    "num_heads": 16, "patch_size": 2, "hidden_size": 1152, "in_channels": 4, "depth": 2,
    "model_max_length": 300, "input_size": 128, "pe_interpolation": 2, "micro_condition": False,
}  # fmt: skip
HIDREAM = {
    "attention_head_dim": 128, "axes_dims_rope": [64, 32, 32], "caption_channels": [4096, 4096],
    "max_resolution": [128, 128], "in_channels": 16, "llama_layers": [0, 1, 2, 3],
    "num_attention_heads": 20, "num_routed_experts": 4, "num_activated_experts": 2,
    "num_layers": 2, "num_single_layers": 2, "out_channels": 16, "patch_size": 2,
    "text_emb_dim": 2048,
}  # fmt: skip
OMNIGEN = {
    "axes_dim_rope": [40, 40, 40], "axes_lens": [1024, 1664, 1664], "ffn_dim_multiplier": None,
    "hidden_size": 2520, "in_channels": 16, "multiple_of": 256, "norm_eps": 1e-05,
    "num_attention_heads": 21, "num_kv_heads": 7, "num_layers": 2, "num_refiner_layers": 2,
    "out_channels": None, "patch_size": 2, "text_feat_dim": 2048, "timestep_scale": 1000.0,
}  # fmt: skip
MOCHI = {
    "depth": 2, "patch_size": 2, "num_heads": 24, "hidden_size_x": 3072, "hidden_size_y": 1536,
    "mlp_ratio_x": 4.0, "mlp_ratio_y": 4.0, "learn_sigma": False, "in_channels": 12,
    "qk_norm": True, "qkv_bias": False, "out_bias": True, "attn_drop": 0.0,
    "patch_embed_bias": True, "posenc_preserve_area": True, "timestep_mlp_bias": True,
    "attend_to_padding": False, "timestep_scale": 1000.0, "use_t5": True, "t5_feat_dim": 4096,
    "t5_token_length": 256, "rope_theta": 10000.0,
}  # fmt: skip
COSMOS_2 = {
    "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16,
    "patch_spatial": 2, "patch_temporal": 1, "model_channels": 2048, "concat_padding_mask": True,
    "crossattn_emb_channels": 1024, "pos_emb_cls": "rope3d", "pos_emb_learnable": True,
    "pos_emb_interpolation": "crop", "use_adaln_lora": True, "adaln_lora_dim": 256,
    "num_blocks": 2, "num_heads": 16, "extra_per_block_abs_pos_emb": False,
}  # fmt: skip

ACE_STEP = {
    "attention_head_dim": 128, "in_channels": 8, "inner_dim": 2560, "max_height": 16,
    "max_position": 32768, "max_width": 32768, "mlp_ratio": 2.5, "num_attention_heads": 20,
    "num_layers": 2, "out_channels": 8, "patch_size": [16, 1], "rope_theta": 1e6,
    "speaker_embedding_dim": 512, "text_embedding_dim": 768, "ssl_encoder_depths": [8, 8],
    "ssl_latent_dims": [1024, 768], "ssl_names": ["mert", "m-hubert"],
    "lyric_encoder_vocab_size": 6693, "lyric_hidden_size": 1024,
}  # fmt: skip
# Narrower than the real one: it cannot be built without its weights.
ACE_STEP_1_5 = {
    "hidden_size": 256, "text_hidden_dim": 32, "timbre_hidden_dim": 16, "num_dit_layers": 2,
    "num_lyric_layers": 2, "num_timbre_layers": 2, "num_tokenizer_layers": 2, "num_heads": 2,
    "num_kv_heads": 1, "intermediate_size": 96, "fsq_dim": 64, "encoder_hidden_size": 256,
    "encoder_intermediate_size": 96, "encoder_num_heads": 2,
}  # fmt: skip

# our name of the model -> (ComfyUI's class by name, its settings beyond the class's own)
DIFFUSION_MODELS = {
    "SD1.5": ("SD15", SD15),
    "SDXL": ("SDXL", SDXL),
    "SDXL refiner": ("SDXLRefiner", REFINER),
    "Flux": ("Flux", FLUX),
    "Chroma": ("Chroma", CHROMA),
    "Flux.2": ("Flux2", FLUX_2),
    "HunyuanVideo": ("HunyuanVideo", HUNYUAN_VIDEO),
    "HunyuanVideo 1.5": (
        "HunyuanVideo15",
        HUNYUAN_VIDEO | {"vision_in_dim": 1152, "byt5": True, "use_cond_type_embedding": True},
    ),
    "SD3.5 large": ("SD3", SD3),
    "SD3.5 medium": ("SD3", SD35_MEDIUM),
    "Qwen-Image": ("QwenImage", {"num_layers": 2}),
    "Wan": ("WAN21_T2V", WAN),
    "Wan image-to-video": ("WAN21_I2V", WAN | {"in_dim": 36}),
    "Wan VACE": ("WAN21_Vace", WAN | {"vace_in_dim": 96, "vace_layers": 1}),
    "LTX-Video": ("LTXV", LTX),
    "LTX-Video with audio": ("LTXAV", LTX),
    "Z-Image": ("ZImage", Z_IMAGE),
    "AuraFlow": (
        "AuraFlow",
        {"max_seq": 9216, "cond_seq_dim": 2048, "n_double_layers": 2, "n_layers": 4},
    ),
    "PixArt Sigma": ("PixArtSigma", PIXART),
    "PixArt Alpha": ("PixArtAlpha", PIXART | {"micro_condition": True}),
    "HiDream": ("HiDream", HIDREAM),
    "Krea 2": ("Krea2", {"layers": 2}),
    "HunyuanDiT": ("HunyuanDiT", {"depth": 4, "hidden_size": 1408, "mlp_ratio": 4.3637}),
    "Mochi": ("GenmoMochi", MOCHI),
    "OmniGen2": ("Omnigen2", OMNIGEN),
    "Kandinsky 5": ("Kandinsky5", {"num_text_blocks": 2, "num_visual_blocks": 2}),
    "ERNIE-Image": ("ErnieImage", {"num_layers": 2}),
    "Lumina 2": ("Lumina2", LUMINA),
    "Cosmos Predict2": ("CosmosT2IPredict2", COSMOS_2),
    "Anima": ("Anima", COSMOS_2),
    "CogVideoX": ("CogVideoX_T2V", {"num_layers": 2}),
    "ACE-Step": ("ACEStep", ACE_STEP),
    "ACE-Step 1.5": ("ACEStep15", ACE_STEP_1_5),
}
# As narrow as these classes can be built; the slices of fused weights follow the width.
SMALL_MODELS = {
    "Flux": (
        "Flux",
        FLUX
        | {"hidden_size": 24, "num_heads": 2, "axes_dim": [4, 4, 4], "depth": 1}
        | {"depth_single_blocks": 1, "context_in_dim": 16, "vec_in_dim": 8},
    ),
    "Z-Image": (
        "ZImage",
        Z_IMAGE
        | {"dim": 30, "n_heads": 5, "n_kv_heads": 5, "axes_dims": [2, 2, 2], "n_layers": 1}
        | {"cap_feat_dim": 16},
    ),
    "SD3": (
        "SD3",
        SD35_MEDIUM
        | {"depth": 1, "adm_in_channels": 16, "x_block_self_attn_layers": [0]}
        | {"pos_embed_max_size": 4, "num_patches": 16}
        | {
            "context_embedder_config": {
                "target": "torch.nn.Linear", "params": {"in_features": 16, "out_features": 64},
            }
        },
    ),
}  # fmt: skip
TEXT_ENCODERS = {
    "SD1.5": comfy.sd1_clip.SD1ClipModel,
    "SD2": comfy.text_encoders.sd2_clip.SD2ClipModel,
    "SDXL": comfy.sdxl_clip.SDXLClipModel,
    "SDXL refiner": comfy.sdxl_clip.SDXLRefinerClipModel,
    "SD3.5": comfy.text_encoders.sd3_clip.SD3ClipModel,
    "Flux": comfy.text_encoders.flux.FluxClipModel,
}


def diffusion_model(kind, settings):
    """A ComfyUI model of this class on the meta device: names and shapes, no weights."""
    found = getattr(models, kind)
    config = found(found.unet_config | settings)
    config.set_inference_dtype(torch.float32, None)
    # Some classes look into the checkpoint for the kind of noise they were trained on; none here.
    device = "cpu" if kind == "ACEStep15" else "meta"
    return config.get_model({}, device=device)


def key_maps():
    answer = {}
    for name, (kind, settings) in DIFFUSION_MODELS.items():
        # Older versions know fewer models, or models with fewer settings.
        with suppress(AttributeError, TypeError):
            answer[name] = entries(*key_map(kind, settings), "diffusion_model.")
    for name, kind in TEXT_ENCODERS.items():
        model = kind(device="meta", dtype=torch.float32)
        shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
        found = comfy.lora.model_lora_keys_clip(model, {})
        answer[f"{name} text encoders"] = entries(found, shapes, "")
    return answer


def key_map(kind, settings):
    """(ComfyUI's key map, {key: shape}) of a model."""
    model = diffusion_model(kind, settings)
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    return comfy.lora.model_lora_keys_unet(model, {}), shapes


def small_key_maps():
    return {
        name: entries(*key_map(kind, settings), "diffusion_model.")
        for name, (kind, settings) in SMALL_MODELS.items()
    }


def patched(folder):
    """The changes of a small model's weights, patched as a LoRA loader node patches them."""
    (folder / "patched").mkdir()
    maps = {name: key_map(*model) for name, model in SMALL_MODELS.items()}
    for path in sorted(folder.glob("*.safetensors")):
        found, shapes = maps[path.name.split(".")[0]]
        # A patch of a slice has (weight, offset, function) for a key, as in ModelPatcher.
        patches = {}
        for key, patch in comfy.lora.load_lora(load_file(path), found, log_missing=False).items():
            weight, offset, function = (*((key,) if isinstance(key, str) else key), None, None)[:3]
            patches.setdefault(weight, []).append((1.0, patch, 1.0, offset, function))
        answer = {
            weight: comfy.lora.calculate_weight(patch, torch.zeros(shapes[weight]), weight)
            for weight, patch in patches.items()
        }
        save_file({k: t.contiguous() for k, t in answer.items()}, folder / "patched" / path.name)


def entries(found, shapes, prefix):
    result = []
    for name, target in found.items():
        parts = (target,) if isinstance(target, str) else target
        weight, offset, function = (*parts, None, None)[:3]
        if weight in shapes:  # The map also names weights that the model has not got.
            path = weight.removeprefix(prefix)
            result.append([name, path, offset, function is not None, shapes[weight]])
    return result


def changes(folder):
    """ComfyUI's own change of weights for every file of the folder."""
    errors = {}
    (folder / "changes").mkdir()
    for path in sorted(folder.glob("*.safetensors")):
        base = load_file(folder / "base" / path.name)
        tensors = load_file(path)
        # The loader is given the raw names as its key map: what a name means is in `keys`.
        names = {name: f"{name}.weight" for name in base if not name.endswith(".bias")}
        patches = comfy.lora.load_lora(tensors, names, log_missing=False)
        answer = {}
        for key, patch in patches.items():
            name = key.removesuffix(".weight")
            weight = base[name].float()
            record = Record()
            logging.getLogger().addHandler(record)
            after = comfy.lora.calculate_weight(
                [(1.0, patch, 1.0, None, None)], weight.clone(), key
            )
            logging.getLogger().removeHandler(record)
            if record.messages:
                errors[f"{path.stem}: {name}"] = record.messages
            answer[name] = (after - weight).contiguous()
        save_file(answer, folder / "changes" / path.name)
    (folder / "errors.json").write_text(json.dumps(errors))
    renamed = {
        path.stem: sorted(comfy.lora_convert.convert_lora(load_file(path)))
        for path in (folder / "renamed").glob("*.safetensors")
    }
    (folder / "renamed.json").write_text(json.dumps(renamed))


class Record(logging.Handler):
    """Collects what ComfyUI logs: its patcher logs an error and leaves the weight as it is."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


if __name__ == "__main__":
    logging.getLogger().setLevel("ERROR")
    command, path = sys.argv[1], Path(sys.argv[2])
    with torch.no_grad():
        if command == "keys":
            path.write_text(json.dumps(key_maps()))
        elif command == "small":
            path.write_text(json.dumps(small_key_maps()))
        elif command == "patched":
            patched(path)
        else:
            changes(path)
