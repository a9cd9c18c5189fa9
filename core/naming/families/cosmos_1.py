"""Cosmos 1."""

from ..family import Family

# A block of ComfyUI's model is three: attention to itself, to the text, and an MLP. Its numbers are
# part of words (block7), which no pattern of a table has: the rows are written out.
BLOCK = """
blocks.block{n}.blocks.0.block.attn.{{to_q.0,to_k.0,to_v.0,to_out.0}} = ?transformer_blocks.{n}.attn1.{{to_q,to_k,to_v,to_out.0}}
blocks.block{n}.blocks.1.block.attn.{{to_q.0,to_k.0,to_v.0,to_out.0}} = ?transformer_blocks.{n}.attn2.{{to_q,to_k,to_v,to_out.0}}
blocks.block{n}.blocks.{{0,1}}.block.attn.to_q.1 = ?transformer_blocks.{n}.{{attn1,attn2}}.norm_q
blocks.block{n}.blocks.{{0,1}}.block.attn.to_k.1 = ?transformer_blocks.{n}.{{attn1,attn2}}.norm_k
blocks.block{n}.blocks.2.block.{{layer1,layer2}} = ?transformer_blocks.{n}.ff.{{net.0.proj,net.2}}
blocks.block{n}.blocks.{{0,1,2}}.adaLN_modulation.1 = ?transformer_blocks.{n}.{{norm1,norm2,norm3}}.linear_1
blocks.block{n}.blocks.{{0,1,2}}.adaLN_modulation.2 = ?transformer_blocks.{n}.{{norm1,norm2,norm3}}.linear_2
"""  # noqa: E501

TABLE = (
    "".join(BLOCK.format(n=n) for n in range(36))
    + """
affline_norm = ?time_embed.norm
t_embedder.1.{linear_1,linear_2} = ?time_embed.t_embedder.{linear_1,linear_2}
x_embedder.proj.1 = ?patch_embed.proj
final_layer.linear = ?proj_out
final_layer.adaLN_modulation.{1,2} = ?norm_out.{linear_1,linear_2}
*extra_pos_embedder.{pos_emb_t,pos_emb_h,pos_emb_w}
"""
)

SHAPES = """
64x4096 256x4096 4096x68 4096x1024 4096x4096 4096x16384 8192x256 12288x256 12288x4096 16384x4096
64x5120 256x5120 5120x68 5120x1024 5120x5120 5120x20480 10240x256 15360x256 15360x5120 20480x5120
"""

FAMILY = Family(
    name="Cosmos 1",
    order=340,
    table=TABLE,
    shapes=SHAPES,
    blocks={"blocks": (28, 36)},
    metadata="cosmos1",
    prefixes=(),
    encoders=("t5xxl",),
    diffusers_models=("CosmosTransformer3DModel",),
    comfyui_models=(
        "CosmosT2V",
        "CosmosI2V",
    ),
)
