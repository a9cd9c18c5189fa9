"""HiDream-O1: a language model that paints."""

from ..family import Family

TABLE = """
language_model.layers.#.self_attn.{q_proj,k_proj,v_proj,o_proj,q_norm,k_norm}
language_model.layers.#.mlp.{gate_proj,up_proj,down_proj}
language_model.layers.#.{input_layernorm,post_attention_layernorm}
language_model.{embed_tokens,norm}
visual.blocks.#.attn.{qkv,proj}
visual.blocks.#.mlp.{linear_fc1,linear_fc2}
visual.blocks.#.{norm1,norm2}
visual.merger.{linear_fc1,linear_fc2,norm}
visual.deepstack_merger_list.#.{linear_fc1,linear_fc2,norm}
visual.{patch_embed.proj,pos_embed}
t_embedder1.mlp.{0,2}
x_embedder.{proj1,proj2}
final_layer2.linear
"""

SHAPES = """
1024x3072 1024x4096 1152x3 1152x1152 1152x4304 2304x1152 3072x4096 3456x1152 4096x256 4096x1024 4096x4096 4096x4608 4096x12288 4304x1152 4608x4608 12288x4096 151936x4096
"""  # noqa: E501

FAMILY = Family(
    name="HiDream-O1",
    order=280,
    table=TABLE,
    shapes=SHAPES,
    blocks={},
    metadata="hidreamo1",
    prefixes=(),
    comfyui_models=("HiDreamO1",),
)
