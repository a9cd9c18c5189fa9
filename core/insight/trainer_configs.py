"""Configurations with which a trainer trains the chosen blocks and nothing else.

What each trainer does with its setting is in `trainers.py`.
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
from .trainers import COSMOS, TRAINED, Trained

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
    trained: Trained = Trained()

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
    rank = ranks.most_common(1)[0][0] if ranks else 16
    plan = Plan(lora, ours, modules, rank)
    trained = _trained(trainer, plan.family, lora)
    reached = [block for block in ours if trained.reaches(container_of(block))]
    if not reached:
        raise SettingError(
            f"{trainer} has no setting that trains {', '.join(ours[:3])} of {plan.family}",
            fix="choose other blocks, or another trainer",
        )
    modules = [m for m in modules if locate(m.canonical).block in reached]
    plan = Plan(lora, reached, modules, rank, trained)
    notes = []
    if others := " or ".join(lora.recognition.others):
        notes.append(f"# for {plan.family}; the file could be for {others}, whose names may differ")
    if left_out := ", ".join(sorted(wanted - set(ours), key=network_order)):
        notes.append(f"# blocks of text encoders are chosen elsewhere: {left_out}")
    if beyond := ", ".join(block for block in ours if block not in reached):
        notes.append(f"# {trainer} has no setting that trains these blocks: {beyond}")
    return "\n".join([*notes, TRAINERS[trainer](plan)])


def _trained(trainer: str, family: str, lora: Lora) -> Trained:
    """What the trainer does with the family. Raises SettingError where it does not train it."""
    if trainer not in TRAINED or lora.family is UNKNOWN:
        return Trained()
    if family not in TRAINED[trainer]:
        able = [name for name in TRAINERS if family in TRAINED.get(name, (family,))]
        raise SettingError(
            f"{trainer} has no setting that trains single blocks of {family}",
            fix=f"use {' or '.join(able)}",
        )
    return TRAINED[trainer][family]


def _ai_toolkit(plan: Plan) -> str:
    trained = plan.trained
    # Wan 2.2's two models stand between: "transformer.transformer_1.blocks.0.". Of the others every
    # name begins with "transformer.", which tells `blocks.1.` from `token_refiner.blocks.1.`.
    anywhere = plan.family == "Wan" or plan.lora.family is UNKNOWN or plan.lora.family.processors
    start = "." if anywhere else "transformer."
    main = Trained(trained.main)
    by_default = all(main.reaches(container_of(block)) for block in plan.blocks)
    lines = [
        "# instead of network: in the job's process",
        "network:",
        '  type: "lora"',
        f"  linear: {plan.rank}",
        f"  linear_alpha: {plan.rank}",
        *([] if by_default else ["  transformer_only: false"]),
        "  network_kwargs:",
        "    only_if_contains:",
        *(f'      - "{start}{trained.before}{prefix}."' for prefix in _prefixes(plan)),
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
        included = f"{re.escape(plan.trained.before)}{_alternatives(plan.blocks)}\\..*"
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
    kept = _alternatives(_prefixes(plan))
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


def _prefixes(plan: Plan) -> list[str]:
    """The chosen blocks as the trainer's model calls them, each once."""
    if not plan.trained.diffusers:
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
