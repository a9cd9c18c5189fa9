"""MiniMax H3."""

from ..family import Family

TABLE = """
blocks.#.attn.qkv_proj = ?transformer_blocks.#.attn.{to_q,to_k,to_v}
token_refiner.blocks.#.attn.qkv_proj = ?token_refiner.refiner_blocks.#.attn.{to_q,to_k,to_v}
{blocks,token_refiner.blocks}.#.attn.out_proj = ?{transformer_blocks,token_refiner.refiner_blocks}.#.attn.to_out.0
{blocks,token_refiner.blocks}.#.attn.q_norm = ?{transformer_blocks,token_refiner.refiner_blocks}.#.attn.norm_q
{blocks,token_refiner.blocks}.#.attn.k_norm = ?{transformer_blocks,token_refiner.refiner_blocks}.#.attn.norm_k
{blocks,token_refiner.blocks}.#.mlp.fc1 = ~?{transformer_blocks,token_refiner.refiner_blocks}.#.ff.net.0.proj
{blocks,token_refiner.blocks}.#.mlp.fc2 = ?{transformer_blocks,token_refiner.refiner_blocks}.#.ff.net.2
{blocks,token_refiner.blocks}.#.norm1 = ?{transformer_blocks,token_refiner.refiner_blocks}.#.norm1
{blocks,token_refiner.blocks}.#.norm2 = ?{transformer_blocks,token_refiner.refiner_blocks}.#.norm2
blocks.#.adaln_proj.linear = ?transformer_blocks.#.adaln_proj.linear
token_refiner.final_norm
time_embedder.{proj_in,proj_out} = ?time_embedder.{linear_1,linear_2}
condition_proj = ?context_embedder
{video_patch_proj,audio_patch_proj} = ?{proj_in,audio_proj_in}
final_layer.{video_out,audio_out} = ?{proj_out,audio_proj_out}
final_layer.norm = ?norm_out.norm
final_layer.adaln_proj.linear = ?norm_out.linear
*rope.inv_freq
"""  # noqa: E501

SHAPES = """
32x5376 96x5376 2688x5376 5376x32 5376x96 5376x256 5376x5120 5376x7168 5376x14336 7168x5376 10752x2688 21504x5376 28672x5376 96768x2688
"""  # noqa: E501

FAMILY = Family(
    name="MiniMax H3",
    order=270,
    table=TABLE,
    shapes=SHAPES,
    blocks={"blocks": (50,)},
    cuts={r"qkv_proj$": (1, 1, 1)},
    metadata="minimaxh3",
    prefixes=(),
    encoders=("qwen3vl_32b",),
    lone_encoder=True,
    diffusers_models=("MiniMaxH3Transformer3DModel",),
    comfyui_models=("MiniMaxH3",),
)
