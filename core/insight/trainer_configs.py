"""Configurations with which a trainer trains the chosen blocks and nothing else.

What each trainer does with its setting, read in its source in 2026:

* ai-toolkit (toolkit/lora_special.py, `create_modules`): a layer is trained when any text of
  `only_if_contains` is part of its dotted name, "transformer." (or "lora_unet." for UNets) and the
  model's own path; the names are diffusers' for Flux, SD3 and UNets. Wan 2.2's two models stand
  between, "transformer.transformer_1.blocks.0.", so the texts here begin at the dot before the
  container, which also tells `.transformer_blocks.` from `.single_transformer_blocks.`. By default
  `transformer_only` keeps only the main blocks (`get_transformer_block_names`): not the refiners.
* kohya's sd-scripts, --network_args: `train_double_block_indices`, `train_single_block_indices` for
  Flux and Chroma (networks/lora_flux.py, docs/flux_train_network.md), `train_block_indices` for SD3
  (networks/lora_sd3.py); `block_dims` for UNets, a rank per block, 0 for none: 25 for SD1.5 (12 in,
  middle, 12 out), 23 for SDXL (embeddings, 9 in, 3 middle, 9 out, last) in networks/lora.py.
* kohya's musubi-tuner (networks/lora.py, docs/advanced_config.md), and sd-scripts for Anima
  (networks/lora_anima.py): `exclude_patterns`, then `include_patterns` on top, regular expressions
  for the model's whole names (re.fullmatch). The alpha of both scripts is 1 unless told otherwise.
* diffusion-pipe (models/base.py, `configure_adapter`): every linear layer of the blocks, except
  those whose whole name `exclude_modules` matches; passed on to PEFT. It is not read for SDXL.
  Alpha is the rank, and an error where it is set.
* PEFT (tuners_utils.py, `check_target_module_exists`): `target_modules` as a text is a regular
  expression for whole names, which must not match a container, only layers.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ..errors import MismatchError, SettingError, one_of
from ..naming.blocks import DIFFUSION_MODEL, block_index, container_of, locate, network_order
from ..naming.family import UNKNOWN, fill
from ..reading.lora import Lora
from ..reading.module import Module

# Families whose models diffusers and ComfyUI name differently, for trainers that use diffusers'.
AI_TOOLKIT_DIFFUSERS = ("Flux", "SD3", "SDXL", "SD1.5", "AuraFlow", "PixArt")
DIFFUSION_PIPE_DIFFUSERS = ("Flux", "SD3", "AuraFlow")
COSMOS = "Cosmos Predict2 / Anima"
# Families that a trainer does not train, or none of whose settings names single blocks.
NOBODY = (
    *("Boogu", "Cosmos 1", "Hunyuan3D 2", "Hunyuan3D 2.1", "JoyImage", "KOALA", "Lens", "MageFlow"),
    *(
        "NewBie",
        "Ovis-Image",
        "Stable Audio",
        "Stable Cascade",
        "SVD",
        "HunyuanImage",
        "HiDream-O1",
    ),
)
UNTRAINED = {
    "ai-toolkit": (
        *NOBODY,
        *("HunyuanVideo", "HunyuanVideo 1.5", "Kandinsky 5", "HunyuanDiT", "Mochi", "CogVideoX"),
        "ACE-Step",
    ),
    "kohya": (
        *NOBODY,
        *("Lumina 2", "LTX-Video", "AuraFlow", "PixArt", "HiDream", "OmniGen2", "HunyuanDiT"),
        *("Mochi", "ERNIE-Image", "SDXL refiner", "CogVideoX", "ACE-Step", "ACE-Step 1.5"),
    ),
    "diffusion-pipe": (
        *NOBODY,
        *("SDXL", "SD1.5", "SDXL refiner", "PixArt", "Kandinsky 5", "HunyuanDiT", "Mochi"),
        *("CogVideoX", "ACE-Step", "ACE-Step 1.5"),
    ),
}
# sd-scripts' block_dims: (how many, index of input_blocks.0, of the middle, of output_blocks.0).
BLOCK_DIMS = {"SD1.5": (25, 0, range(12, 13), 13), "SDXL": (23, 1, range(10, 13), 13)}

_UNET_PART = (
    r"(?:down|up)_blocks\.\d+\.(?:attentions|resnets|downsamplers|upsamplers)\.\d+|mid_block"
)


class Plan(NamedTuple):
    """What configurations are made of: the chosen blocks in network order, and their modules."""

    lora: Lora
    blocks: list[str]
    modules: list[Module]
    rank: int

    @property
    def family(self) -> str:
        return "an unknown model" if self.lora.family is UNKNOWN else self.lora.family.name


def trainer_config(trainer: str, lora: Lora, blocks: Sequence[str]) -> str:
    """The text to paste into a trainer's configuration (or command line) to train these blocks.

    `trainer` is one of TRAINERS, `lora` the Lora that the `blocks` are of: names such as
    `double_blocks.3`. A comment says which blocks of text encoders are left out, and for which
    other model the file could be. Raises SettingError for an unknown trainer and where it has no
    way to say it, MismatchError for blocks that the file does not have.

    >>> lora = core.Lora(core.samples()[1])
    >>> print(core.trainer_config("kohya", lora, ["double_blocks.1"]))
    # sd-scripts
    --network_train_unet_only ... "train_double_block_indices=1" "train_single_block_indices=none"
    """
    one_of("trainer", trainer, TRAINERS)
    places = [(module, locate(module.canonical)) for module in lora.modules.values()]
    known = {place.block for _, place in places if place.block}
    if missing := [block for block in blocks if block not in known]:
        raise MismatchError(
            f"has no block {missing[0]}",
            fix=f"it has {', '.join(sorted(known)) or 'none'}",
            file=lora.name,
        )
    wanted = set(blocks)
    modules = [m for m, p in places if p.block in wanted and p.component == DIFFUSION_MODEL]
    if not modules:
        raise SettingError(
            f"{trainer}: none of the chosen blocks is one of the diffusion model",
            fix="choose one that is, such as by a higher threshold",
        )
    ours = sorted({locate(m.canonical).block or "" for m in modules}, key=network_order)
    ranks = Counter(module.rank for module in modules if module.rank)
    plan = Plan(lora, ours, modules, ranks.most_common(1)[0][0] if ranks else 16)
    if plan.family in UNTRAINED.get(trainer, ()):
        able = (name for name in TRAINERS if plan.family not in UNTRAINED.get(name, ()))
        raise SettingError(
            f"{trainer} has no setting that trains single blocks of {plan.family}",
            fix=f"use {' or '.join(able)}",
        )
    notes = []
    if others := " or ".join(lora.recognition.others):
        notes.append(f"# for {plan.family}; the file could be for {others}, whose names may differ")
    if left_out := ", ".join(sorted(wanted - set(ours), key=network_order)):
        notes.append(f"# blocks of text encoders are chosen elsewhere: {left_out}")
    return "\n".join([*notes, TRAINERS[trainer](plan)])


def _ai_toolkit(plan: Plan) -> str:
    prefixes = _prefixes(plan, plan.family in AI_TOOLKIT_DIFFUSERS)
    if plan.family == COSMOS:  # The one model of diffusers of which the tables know no names.
        prefixes = [re.sub("^blocks", "transformer_blocks", prefix) for prefix in prefixes]
    lines = [
        "# instead of network: in the job's process",
        "network:",
        '  type: "lora"',
        f"  linear: {plan.rank}",
        f"  linear_alpha: {plan.rank}",
        *(["  transformer_only: false"] if "refiner" in "".join(plan.blocks) else []),
        "  network_kwargs:",
        "    only_if_contains:",
        *(f'      - ".{prefix}."' for prefix in prefixes),
    ]
    return "\n".join(lines)


def _kohya(plan: Plan) -> str:
    script = "sd-scripts"
    dimensions = f"--network_dim {plan.rank} --network_alpha {plan.rank}"
    if plan.family in BLOCK_DIMS:
        arguments = [f"block_dims={','.join(map(str, _block_dims(plan)))}"]
    elif plan.family in ("Flux", "Chroma"):
        arguments = [
            f"train_{kind}_block_indices={_indices(plan, f'{kind}_blocks') or 'none'}"
            for kind in ("double", "single")
        ]
    elif plan.family == "SD3":
        arguments = [f"train_block_indices={_indices(plan, 'joint_blocks')}"]
    else:
        included = f"{_alternatives(plan.blocks)}\\..*"
        if plan.family == "HunyuanVideo":  # of which FramePack has diffusers' names
            included = included.replace("double_blocks", "(?:double|transformer)_blocks")
            included = included.replace("single_blocks", "single_(?:transformer_)?blocks")
        arguments = ["exclude_patterns=[r'.*']", f"include_patterns=[r'{included}']"]
        note = "every linear layer of the blocks is trained, modulation included"
        script = f"{'sd-scripts' if plan.family == COSMOS else 'musubi-tuner'}; {note}"
    quoted = " ".join(f'"{argument}"' for argument in arguments)
    only = "" if script.startswith("musubi") else "--network_train_unet_only "
    return f"# {script}\n{only}{dimensions} --network_args {quoted}"


def _diffusion_pipe(plan: Plan) -> str:
    kept = _alternatives(_prefixes(plan, plan.family in DIFFUSION_PIPE_DIFFUSERS))
    return (
        "# every layer outside these blocks is excluded\n[adapter]\ntype = 'lora'\n"
        f"rank = {plan.rank}\nexclude_modules = '(?!{kept}\\.).*'"
    )


def _peft(plan: Plan) -> str:
    layers: dict[str, set[str]] = {}
    for module in plan.modules:
        for name in _diffusers_names(plan.lora, module):
            prefix = _cut(name)
            rest = name.removeprefix(prefix).lstrip(".")
            # UNets repeat their inner blocks, each with the same layers.
            inner = re.sub(r"(transformer_blocks\\\.)\d+", r"\1\\d+", re.escape(rest))
            layers.setdefault(prefix, set()).add(inner)
    # Blocks with the same layers share one branch.
    groups: dict[frozenset[str], list[str]] = {}
    for prefix in sorted(layers, key=network_order):
        groups.setdefault(frozenset(layers[prefix]), []).append(prefix)
    branches = []
    for inner_names, prefixes in groups.items():
        rest = "|".join(sorted(filter(None, inner_names)))
        branches.append(_alternatives(prefixes) + (f"\\.(?:{rest})" if rest else ""))
    pattern = "|".join(branches)
    return (
        "peft.LoraConfig(\n"
        f"    r={plan.rank},\n    lora_alpha={plan.rank},\n"
        f'    target_modules=r"{pattern}",\n)'
    )


TRAINERS: dict[str, Callable[[Plan], str]] = {
    "ai-toolkit": _ai_toolkit,
    "kohya": _kohya,
    "diffusion-pipe": _diffusion_pipe,
    "peft": _peft,
}


def _indices(plan: Plan, container: str) -> str:
    limit = max(plan.lora.family.blocks.get(container, (0,)))
    found = [
        _index(plan, block, limit) for block in plan.blocks if container_of(block) == container
    ]
    return ",".join(map(str, found))


def _index(plan: Plan, block: str, limit: int) -> int:
    """The block's number. Raises SettingError where a model of the family has no such block."""
    index = block_index(block)[1] or 0
    if index >= limit:
        raise SettingError(
            f"kohya: {plan.family} has no {block}, only {limit} blocks of that name",
            fix="leave that block out",
        )
    return index


def _block_dims(plan: Plan) -> list[int]:
    size, first_in, middle, first_out = BLOCK_DIMS[plan.family]
    dims = [0] * size
    for block in plan.blocks:
        container = container_of(block)
        if container == "middle_block":
            for position in middle:
                dims[position] = plan.rank
        else:
            first = first_in if container == "input_blocks" else first_out
            dims[first + _index(plan, block, middle.start - first_in)] = plan.rank
    return dims


def _alternatives(prefixes: Iterable[str]) -> str:
    """A regular expression for these block names: `(?:a\\.(?:1|2)|b\\.3)`."""
    containers: dict[str, list[str]] = {}
    for prefix in prefixes:
        container = container_of(prefix)
        containers.setdefault(container, []).append(prefix.removeprefix(container).lstrip("."))
    branches = []
    for container, indices in containers.items():
        numbers = "|".join(indices)
        numbers = f"(?:{numbers})" if len(indices) > 1 else numbers
        branches.append(re.escape(container) + (f"\\.{numbers}" if numbers else ""))
    return f"(?:{'|'.join(branches)})" if len(branches) > 1 else branches[0]


def _prefixes(plan: Plan, diffusers: bool) -> list[str]:
    """The chosen blocks in the model's own or in diffusers' names, each once."""
    if not diffusers:
        return plan.blocks
    names = (name for module in plan.modules for name in _diffusers_names(plan.lora, module))
    return sorted({_cut(name) for name in names}, key=network_order)


def _cut(name: str) -> str:
    """The block of a layer in diffusers' names; in UNets the part that is one block of LDM's."""
    if match := re.match(_UNET_PART, name):
        return match[0]
    return locate(name).prefix or name


def _diffusers_names(lora: Lora, module: Module) -> list[str]:
    """What diffusers calls the layers of a module; fused ones have several."""
    name, family = module.name, lora.family
    if name.native is None:
        return [name.weight]
    row = family.rows[name.native]
    templates = row.diffusers or (name.native,)
    if len(templates) == len(row.parts):
        templates = templates[name.first : name.last]
    # Files of UNets keep names from before diffusers 0.20.
    modern = (t.replace(".processor.to_out", ".to_out.0") for t in templates)
    return [fill(t.replace(".processor.", "."), list(name.numbers)) for t in modern]
