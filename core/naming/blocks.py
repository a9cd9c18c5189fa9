"""Where in the network a module is: component, block and layer type, from its canonical name.

A block is a container with an index, `double_blocks.3`, and the container's name stays part of it:
double and single blocks of one number never mix. The outer container counts, so that SDXL's
`input_blocks.4.1.transformer_blocks.0` is in `input_blocks.4`. Text encoders are a component of
their own and their encoder stands in front: `clip_l.encoder.layers.3`.
"""

import re
from typing import NamedTuple

from .numbers import NUMBER, number

DIFFUSION_MODEL, TEXT_ENCODER = "diffusion model", "text encoder"
COMPONENTS = (DIFFUSION_MODEL, TEXT_ENCODER)

# In the order in which a network runs through them; others come after, by name.
CONTAINERS = (
    "noise_refiner",
    "context_refiner",
    "input_blocks",
    "down_blocks",
    "middle_block",
    "mid_block",
    "output_blocks",
    "up_blocks",
    "double_blocks",
    "single_blocks",
    "joint_blocks",
    "transformer_blocks",
    "single_transformer_blocks",
    "blocks",
    "layers",
)

_ENCODER = re.compile(r"(\w+)\.transformer\.(?:text_model\.)?")
# The one block in the middle, or the first segment from the left that holds numbered blocks: where
# either ends.
_MIDDLE = re.compile(r"(?:middle_block|mid_block)(?=[._]|$)")
_BLOCK = re.compile(rf"(?:blocks?|layers?|refiner)\.{NUMBER}(?=[._]|$)")
_PATH = re.compile(r"[\w.]*")  # A block is a selector, too: there is nothing else in its name.

# The first that matches what is left of a name inside its block.
_LAYER_TYPES = (
    ("modulation", r"mod\b|_mod[._]|modulation|adaLN|norm(1|1_context|_out)\.linear|emb_layers"),
    ("norm", r"norm"),
    ("q, k, v, mlp", r"linear1$"),
    ("out, mlp", r"linear2$"),
    ("mlp", r"mlp|\bff|ffn|feed_forward|Dense"),
    ("attention q, k, v", r"qkv$"),
    ("attention q", r"[._](to_q|q_proj|q)$|q_proj$"),
    ("attention k", r"[._](to_k|k_proj|k|k_img)$|k_proj$"),
    ("attention v", r"[._](to_v|v_proj|v|v_img)$|v_proj$"),
    (
        "attention out",
        r"(attn\d?|attention|Attention)[._](proj|out|o|out_proj|to_out.0|to_add_out)$",
    ),
    ("projection", r"proj_in|proj_out"),
    ("convolution", r"in_layers|out_layers|skip_connection|conv|op$|^\.0$"),
)
LAYER_TYPES = (
    "attention q",
    "attention k",
    "attention v",
    "attention q, k, v",
    "attention out",
    "q, k, v, mlp",
    "out, mlp",
    "mlp",
    "modulation",
    "norm",
    "projection",
    "convolution",
    "other",
)


class Place(NamedTuple):
    """Where a module is.

    `block` is None outside any block. `prefix` is the block as canonical names spell it, which is
    what selectors take. `layer_type` is one of LAYER_TYPES.
    """

    component: str
    block: str | None
    prefix: str | None
    layer_type: str


def locate(canonical: str) -> Place:
    """The place of a module, from its canonical name."""
    encoder = _ENCODER.match(canonical)
    start = encoder.end() if encoder else 0
    component = TEXT_ENCODER if encoder else DIFFUSION_MODEL
    found = _MIDDLE.match(canonical, start) or _BLOCK.search(canonical, start)
    if found is None or not _PATH.fullmatch(canonical, start, found.start()):
        return Place(component, None, None, _layer_type(canonical[start:]))
    block = canonical[start : found.end()]
    block = f"{encoder[1]}.{block}" if encoder else block
    return Place(component, block, canonical[: found.end()], _layer_type(canonical[found.end() :]))


def _layer_type(rest: str) -> str:
    rest = rest.removesuffix(".bias")
    return next((name for name, pattern in _LAYER_TYPES if re.search(pattern, rest)), "other")


def container_of(block: str) -> str:
    """`double_blocks` of `double_blocks.3`, `clip_l.encoder.layers` of its third layer."""
    return block_index(block)[0]


def block_index(block: str) -> tuple[str, int | None]:
    """(`double_blocks`, 3) of `double_blocks.3`; a block without a number is its own container."""
    container, _, last = block.rpartition(".")
    index = number(last)
    return (block, None) if index is None else (container, index)


def network_order(block: str) -> tuple[bool, int, str, int]:
    """A key that sorts blocks as the network runs through them, text encoders last."""
    container, index = block_index(block)
    known = CONTAINERS.index(container) if container in CONTAINERS else len(CONTAINERS)
    return known == len(CONTAINERS), known, container, index or 0
