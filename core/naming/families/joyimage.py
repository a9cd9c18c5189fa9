"""JoyImage."""

from ..family import Family

TABLE = """
double_blocks.#.attn.{img_attn_qkv,img_attn_proj,txt_attn_qkv,txt_attn_proj}
double_blocks.#.attn.{img_attn_q_norm,img_attn_k_norm,txt_attn_q_norm,txt_attn_k_norm}
double_blocks.#.{img,txt}_mlp.net.{0.proj,2}
*double_blocks.#.{img,txt}_mod.modulate_table
condition_embedder.{time_embedder,text_embedder}.{linear_1,linear_2}
condition_embedder.time_proj
{img_in,proj_out}
"""

SHAPES = """
64x3072 3072x16 3072x256 3072x3072 3072x4096 3072x12288 9216x3072 12288x3072 18432x3072
"""

FAMILY = Family(
    name="JoyImage",
    order=330,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_blocks": (20,)},
    metadata="joyimage",
    prefixes=(),
    encoders=("qwen3vl_8b",),
    lone_encoder=True,
    comfyui_models=("JoyImage",),
)
