"""CogVideoX."""

from ..family import Family

TABLE = """
blocks.#.{q,k,v,attn_out} = transformer_blocks.#.attn1.{to_q,to_k,to_v,to_out.0}
blocks.#.{norm_q,norm_k} = transformer_blocks.#.attn1.{norm_q,norm_k}
blocks.#.{ff_proj,ff_out} = transformer_blocks.#.ff.{net.0.proj,net.2}
blocks.#.{norm1,norm2}.{linear,norm} = transformer_blocks.#.{norm1,norm2}.{linear,norm}
patch_embed.{proj,text_proj}
time_embedding_linear_{1,2} = time_embedding.linear_{1,2}
norm_final
norm_out.{linear,norm}
proj_out
"""

FAMILY = Family(
    name="CogVideoX",
    order=230,
    table=TABLE,
    blocks={"blocks": (30, 42)},
    metadata="cogvideo",
    prefixes=(),
)
