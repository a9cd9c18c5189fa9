"""Trainers' settings for one block of every container, applied to a model's names as they do it.

The rules are the trainers' own, read in their sources (core/insight/trainers.py).
"""

from __future__ import annotations

import ast
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
import yaml

from core import Lora, SettingError, StateDict, trainer_config
from core.insight.trainers import AI_TOOLKIT, DIFFUSION_PIPE, TRAINED, Trained
from core.naming.blocks import container_of, locate
from core.naming.family import Family

# name in the model -> (the weight in ComfyUI's, its shape)
Layers = Mapping[str, tuple[str, tuple[int, ...]]]


def file_of(layers: Layers, family: Family) -> Lora:
    """A LoRA of all layers that takes no memory."""
    nothing = torch.zeros(1)
    state: dict[str, torch.Tensor] = {}
    for raw, (_, shape) in layers.items():
        kernel = [1] * (len(shape) - 2)
        state[f"{raw}.lora_up.weight"] = nothing.expand(shape[0], 1, *kernel)
        state[f"{raw}.lora_down.weight"] = nothing.expand(1, *shape[1:])
    return Lora(StateDict(state), prefer=family)


def chosen(layers: Layers) -> list[str]:
    """The second block of every container of the diffusion model, or its only one."""
    blocks: dict[str, list[str]] = defaultdict(list)
    for weight, _ in layers.values():
        if block := locate(weight).block:
            blocks[container_of(block)].append(block)
    return [sorted(set(found), key=lambda b: (len(b), b))[:2][-1] for found in blocks.values()]


def settings(config: str) -> dict[str, str]:
    words = shlex.split(config, comments=True)
    return dict(pair.split("=", 1) for pair in words[words.index("--network_args") + 1 :])


def selected(trainer: str, config: str, names: Iterable[str], family: Family) -> set[str]:
    """The names that the trainer would train."""
    trained = TRAINED[trainer][family.name]
    before = {name: trained.before + name for name in names}
    if trainer == AI_TOOLKIT:
        network = yaml.safe_load(config)["network"]
        prefix = "lora_unet." if family.processors else "transformer."
        main = "" if network.get("transformer_only") is False else trained.main
        texts = network["network_kwargs"]["only_if_contains"]
        return {
            name
            for name, own in before.items()
            if any(text in prefix + own for text in texts)
            and (not main or any(f".{own}".find(f".{part}.") >= 0 for part in main.split()))
        }
    if trainer == DIFFUSION_PIPE:
        (pattern,) = re.findall(r"exclude_modules = '(.*)'", config)
        return {name for name, own in before.items() if not re.fullmatch(pattern, own)}
    given = settings(config)
    patterns = [re.compile(p) for p in ast.literal_eval(given["include_patterns"])]
    return {name for name, own in before.items() if any(p.fullmatch(own) for p in patterns)}


def faults_of(trainer: str, layers: Layers, theirs: Layers, family: Family) -> list[str]:
    """What is wrong with a trainer's settings: `theirs` are the layers as diffusers has them."""
    lora, blocks = file_of(layers, family), chosen(layers)
    choices = [blocks, *([block] for block in blocks if len(blocks) > 1)]
    names = {weight: (weight, shape) for weight, shape in layers.values()}
    if TRAINED[trainer].get(family.name, Trained()).diffusers:
        names = dict(theirs)
    found = (faults_with(trainer, lora, choice, names, family) for choice in choices)
    return [fault for faults in found for fault in faults]


def faults_with(
    trainer: str, lora: Lora, blocks: list[str], names: Layers, family: Family
) -> list[str]:
    trained = TRAINED[trainer].get(family.name)
    try:
        config = trainer_config(trainer, lora, blocks)
    except SettingError as error:
        known = trained is not None and any(trained.reaches(container_of(b)) for b in blocks)
        return [f"{trainer}: {error}"] if known else []
    if trained is None:
        return [f"{trainer} does not train {family.name}"]
    if "block_dims" in config or "_indices=" in config:
        return []  # Held against the scripts' own rules in test_trainer_configs.py.
    reached = {name for name, (weight, _) in names.items() if _reached(weight, trained)}
    wanted = {name for name in reached if locate(names[name][0]).block in blocks}
    # Both of these look at their models' blocks only, ai-toolkit at every layer.
    seen = set(names) if trainer == AI_TOOLKIT else reached
    wrong = (selected(trainer, config, names, family) & seen) ^ wanted
    return [f"{trainer}, {', '.join(blocks)}: {name}" for name in sorted(wrong)]


def _reached(weight: str, trained: Trained) -> bool:
    block = locate(weight).block
    return block is not None and trained.reaches(container_of(block))
