"""AuraFlow."""

from ..family import Family

TABLE = """
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

SHAPES = """
16x3072 3072x16 3072x256 3072x2048 3072x3072 3072x8192 6144x3072 8192x3072 18432x3072
"""

FAMILY = Family(
    name="AuraFlow",
    order=130,
    table=TABLE,
    shapes=SHAPES,
    blocks={"double_layers": (4,), "single_layers": (32,)},
    metadata="aura",
    encoders=("pile_t5xl",),
    diffusers_models=("AuraFlowTransformer2DModel",),
    comfyui_models=("AuraFlow",),
)
