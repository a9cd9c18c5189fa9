"""HunyuanVideo, HunyuanImage and FramePack."""

from ..family import Family

TABLE = """
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


FAMILY = Family(
    name="HunyuanVideo",
    order=30,
    table=TABLE,
    blocks={"double_blocks": (20,), "single_blocks": (40,)},
    metadata="hunyuanvideo|hunyuanimage|framepack|^hv",
    prefixes=("transformer.", "diffusion_model."),
    rows_per_column={"single_blocks.#.linear1": 7, "double_blocks.#.img_mlp.0": 4},
)
