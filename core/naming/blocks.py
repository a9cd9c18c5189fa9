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
# The block in the middle, Cosmos' `blocks.block7`, or the first segment from the left that holds
# numbered blocks: where either ends. A part that is called a block or a layer (`t_block.1`) holds
# none.
_MIDDLE = re.compile(r"(?:middle_block|mid_block)(?=[._]|$)")
_BLOCK = re.compile(
    rf"(?:\bblocks\.block{NUMBER}"
    rf"|(?:blocks?|layers?|refiner)(?<!\bt_block)(?<!adain_layers)\.{NUMBER})(?=[._]|$)"
)
_PATH = re.compile(r"[\w.]*")  # A block is a selector, too: there is nothing else in its name.


def _qkv(letter: str, word: str) -> str:
    """Every way to call the layer for queries, keys or values."""
    names = (
        rf"(?:\w+_)?to_{letter}(?:_t)?(?:\.0)?",
        rf"(?:add_)?{letter}_(?:proj|linear|img)",
        rf"\w+_{letter}_proj",
        rf"(?:w\d?|linear\d?_)?{letter}",
        f"to_{word}",
    )
    return rf"(?:^|[._])(?:{'|'.join(names)})$|{letter}_proj$"


_ATTENTION = r"(?:attn\w*|[aA]ttention|injector)(?:[._]processor)?[._]"
# The first that matches what is left of a name inside its block.
_LAYER_TYPES = (
    (
        "modulation",
        r"mod\b|_mod[._]|mod_[xy]$|\bmod[CX]+\b|modulation|ada(?:LN|ln|in)|emb_layers"
        r"|norm\d?(?:_context|_out)?\.linear|\bmapper",
    ),
    ("norm", r"norm"),
    ("q, k, v, mlp", r"linear1$"),
    ("out, mlp", r"linear2$"),
    (
        "mlp",
        r"mlp|(?:\b|_)ff|ffn|feed_forward|Dense|\bmoe\b|channelwise|layer[12]$|param_generator"
        r"|^\.(?:in|out)_layer$",
    ),
    ("attention q, k, v", r"(?:qkv(?:_[xy])?|qkv_proj|kv|kv_proj|kv_linear)$"),
    ("attention q", _qkv("q", "query")),
    ("attention k", _qkv("k", "key")),
    ("attention v", _qkv("v", "value")),
    (
        "attention out",
        _ATTENTION
        + r"(?:\w+_)?(?:proj(?:_[xy])?|out|o|out_proj|o_proj|output_proj|out_layer)$|"
        + _ATTENTION
        + r"(?:to_out(?:_t)?(?:\.0)?|to_add_out|w\d?o)$",
    ),
    ("attention gate", _ATTENTION + r"(?:to_)?gate(?:_logits)?$"),
    ("projection", r"proj_in|proj_out|skip_linear|(?:before|after)_proj|kv_mapper|time_pos_embed"),
    ("convolution", r"in_layers|out_layers|skip_connection|conv|depthwise|op$|^\.0$"),
)
LAYER_TYPES = (
    "attention q",
    "attention k",
    "attention v",
    "attention q, k, v",
    "attention out",
    "attention gate",
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
    # The end of a name says what a layer is; a name without end would take the patterns for ever.
    rest = rest.removesuffix(".bias")[-200:]
    return next((name for name, pattern in _LAYER_TYPES if re.search(pattern, rest)), "other")


def container_of(block: str) -> str:
    """`double_blocks` of `double_blocks.3`, `clip_l.encoder.layers` of its third layer."""
    return block_index(block)[0]


def block_index(block: str) -> tuple[str, int | None]:
    """(`double_blocks`, 3) of `double_blocks.3`; a block without a number is its own container."""
    container, _, last = block.rpartition(".")
    index = number(last.removeprefix("block"))
    return (block, None) if index is None else (container, index)


def network_order(block: str) -> tuple[bool, int, str, int]:
    """A key that sorts blocks as the network runs through them, text encoders last.

    `block` is its name, as analyses have it.

    >>> sorted(["single_blocks.0", "double_blocks.10", "double_blocks.9"], key=core.network_order)
    ['double_blocks.9', 'double_blocks.10', 'single_blocks.0']
    """
    container, index = block_index(block)
    known = CONTAINERS.index(container) if container in CONTAINERS else len(CONTAINERS)
    return known == len(CONTAINERS), known, container, index or 0
