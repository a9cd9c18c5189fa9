"""Wan."""

from ..family import Family, called

TABLE = """
blocks.#.self_attn.{q,k,v} = blocks.#.attn1.to_{q,k,v}
blocks.#.self_attn.o = blocks.#.attn1.to_out.0
blocks.#.self_attn.{norm_q,norm_k} = blocks.#.attn1.{norm_q,norm_k}
blocks.#.cross_attn.{q,k,v} = blocks.#.attn2.to_{q,k,v}
blocks.#.cross_attn.o = blocks.#.attn2.to_out.0
blocks.#.cross_attn.{k_img,v_img} = blocks.#.attn2.{add_k_proj,add_v_proj}
blocks.#.cross_attn.norm_k_img = blocks.#.attn2.norm_added_k
blocks.#.cross_attn.{norm_q,norm_k} = blocks.#.attn2.{norm_q,norm_k}
blocks.#.ffn.{0,2} = blocks.#.ffn.{net.0.proj,net.2}
blocks.#.norm3 = blocks.#.norm2
*blocks.#.modulation = blocks.#.scale_shift_table
vace_blocks.#.{self_attn,cross_attn}.{q,k,v,o,norm_q,norm_k}
vace_blocks.#.{ffn.0,ffn.2,norm3,before_proj,after_proj}
*vace_blocks.#.modulation
patch_embedding
vace_patch_embedding
text_embedding.{0,2} = condition_embedder.text_embedder.{linear_1,linear_2}
time_embedding.{0,2} = condition_embedder.time_embedder.{linear_1,linear_2}
time_projection.1 = condition_embedder.time_proj
img_emb.proj.{0,4} = condition_embedder.image_embedder.{norm1,norm2}
img_emb.proj.{1,3} = condition_embedder.image_embedder.ff.{net.0.proj,net.2}
head.head = proj_out
*head.modulation = scale_shift_table
"""

FAMILY = Family(
    name="Wan",
    order=60,
    table=TABLE,
    blocks={"blocks": (30, 40)},
    metadata="wan",
    prefixes=(),
    called=(called("wan", ""),),
)
