"""HunyuanVideo and FramePack; what HunyuanVideo 1.5 and HunyuanImage share with them."""

from ..family import Family

# First diffusers' names, then those of the model's own trainer, then musubi's for parts of a fused
# weight, which ComfyUI does not read. A name that is there twice has the prefixes of the others.
HUNYUAN = """
double_blocks.#.img_attn.qkv = ?transformer_blocks.#.attn.{to_q,to_k,to_v} | double_blocks.#.img_attn_qkv | ?double_blocks.#.{img_attn_q,img_attn_k,img_attn_v}
double_blocks.#.txt_attn.qkv = ?transformer_blocks.#.attn.{add_q_proj,add_k_proj,add_v_proj} | double_blocks.#.txt_attn_qkv | ?double_blocks.#.{txt_attn_q,txt_attn_k,txt_attn_v}
double_blocks.#.{img,txt}_attn.proj = ?transformer_blocks.#.attn.{to_out.0,to_add_out} | double_blocks.#.{img,txt}_attn_proj
double_blocks.#.{img,txt}_attn.norm.query_norm = ?transformer_blocks.#.attn.{norm_q,norm_added_q} | double_blocks.#.{img,txt}_attn.norm.query_norm
double_blocks.#.{img,txt}_attn.norm.key_norm = ?transformer_blocks.#.attn.{norm_k,norm_added_k} | double_blocks.#.{img,txt}_attn.norm.key_norm
double_blocks.#.{img,txt}_mlp.0 = ?transformer_blocks.#.{ff,ff_context}.net.0.proj | double_blocks.#.{img,txt}_mlp.fc1
double_blocks.#.{img,txt}_mlp.2 = ?transformer_blocks.#.{ff,ff_context}.net.2 | double_blocks.#.{img,txt}_mlp.fc2
double_blocks.#.{img,txt}_mod.lin = ?transformer_blocks.#.{norm1,norm1_context}.linear | double_blocks.#.{img,txt}_mod.linear
"""  # noqa: E501
SINGLE_BLOCKS = """
single_blocks.#.linear1 = ?single_transformer_blocks.#.{attn.to_q,attn.to_k,attn.to_v,proj_mlp} | single_blocks.#.linear1
single_blocks.#.linear2 = ?single_transformer_blocks.#.proj_out | single_blocks.#.linear2
single_blocks.#.norm.query_norm = ?single_transformer_blocks.#.attn.norm_q | single_blocks.#.norm.query_norm
single_blocks.#.norm.key_norm = ?single_transformer_blocks.#.attn.norm_k | single_blocks.#.norm.key_norm
single_blocks.#.modulation.lin = ?single_transformer_blocks.#.norm.linear | single_blocks.#.modulation.linear
"""  # noqa: E501
TEXT = """
txt_in.input_embedder = ?context_embedder.proj_in | txt_in.input_embedder
txt_in.t_embedder.{in_layer,out_layer} = ?context_embedder.time_text_embed.timestep_embedder.{linear_1,linear_2} | txt_in.t_embedder.{in_layer,out_layer}
txt_in.c_embedder.{in_layer,out_layer} = ?context_embedder.time_text_embed.text_embedder.{linear_1,linear_2} | txt_in.c_embedder.{in_layer,out_layer}
txt_in.individual_token_refiner.blocks.#.self_attn.qkv = ?context_embedder.token_refiner.refiner_blocks.#.attn.{to_q,to_k,to_v} | txt_in.individual_token_refiner.blocks.#.self_attn_qkv
txt_in.individual_token_refiner.blocks.#.self_attn.proj = ?context_embedder.token_refiner.refiner_blocks.#.attn.to_out.0 | txt_in.individual_token_refiner.blocks.#.self_attn_proj
txt_in.individual_token_refiner.blocks.#.mlp.{0,2} = ?context_embedder.token_refiner.refiner_blocks.#.ff.{net.0.proj,net.2} | txt_in.individual_token_refiner.blocks.#.mlp.{fc1,fc2}
txt_in.individual_token_refiner.blocks.#.{norm1,norm2} = ?context_embedder.token_refiner.refiner_blocks.#.{norm1,norm2} | txt_in.individual_token_refiner.blocks.#.{norm1,norm2}
txt_in.individual_token_refiner.blocks.#.adaLN_modulation.1 = ?context_embedder.token_refiner.refiner_blocks.#.norm_out.linear | txt_in.individual_token_refiner.blocks.#.adaLN_modulation.1
img_in.proj = ?x_embedder.proj | img_in.proj
final_layer.linear = ?proj_out | final_layer.linear
final_layer.adaLN_modulation.1 = ~?norm_out.linear | final_layer.adaLN_modulation.1
"""  # noqa: E501
BYT5 = """
byt5_in.{fc1,fc2,fc3} = ?context_embedder_2.{linear_1,linear_2,linear_3} | byt5_in.{fc1,fc2,fc3}
byt5_in.layernorm = ?context_embedder_2.norm | byt5_in.layernorm
"""

TABLE = (
    HUNYUAN
    + SINGLE_BLOCKS
    + TEXT
    + """
time_in.{in_layer,out_layer} = ?time_text_embed.timestep_embedder.{linear_1,linear_2} | time_in.{in_layer,out_layer}
vector_in.{in_layer,out_layer} = ?time_text_embed.text_embedder.{linear_1,linear_2} | vector_in.{in_layer,out_layer}
guidance_in.{in_layer,out_layer} = ?time_text_embed.guidance_embedder.{linear_1,linear_2} | guidance_in.{in_layer,out_layer}
"""  # noqa: E501
)

SHAPES = """
64x3072 3072x16 3072x256 3072x768 3072x3072 3072x4096 3072x12288 3072x15360 6144x3072 9216x3072 12288x3072 18432x3072 21504x3072
"""  # noqa: E501

FAMILY = Family(
    name="HunyuanVideo",
    order=30,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_blocks": (20,), "single_blocks": (40,)},
    metadata="hunyuanvideo(?!v?15)|framepack|^hv(?!15)",
    prefixes=("transformer.", "diffusion_model."),
    rows_per_column={"single_blocks.#.linear1": 7, "double_blocks.#.img_mlp.0": 4},
    encoders=("llama",),
    diffusers_models=("HunyuanVideoTransformer3DModel",),
    comfyui_models=(
        "HunyuanVideoSkyreelsI2V",
        "HunyuanVideoI2V",
        "HunyuanVideo",
    ),
)
