"""The commands by what they are for, other words for them, and their parsers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import ModuleType

from .parser import Parser, common_options

# group -> command -> what it does; the command `top-blocks` is in commands/top_blocks.py.
GROUPS = {
    "look into files": {
        "info": "Show what is in LoRA files: family, ranks, trigger words, how they were made.",
        "analyze": "Measure every layer of a LoRA, and say which blocks matter.",
        "compare": "Do these LoRAs fight? Hold two or more against each other.",
        "distance": "Find what a folder has of a LoRA: copies, other names, files with it inside.",
        "verify": "Measure a written file against the weighted sum of its inputs, layer by layer.",
    },
    "make new files": {
        "blend": "Write the weighted sum of LoRAs as one LoRA.",
        "average": "Write the average of checkpoints: equal weights, or a moving average.",
        "resize": "Store LoRAs at lower ranks.",
        "select": "Write only some layers of a LoRA, untouched, to a new file.",
        "top-blocks": "Find the blocks in which most of a LoRA sits; keep or remove them.",
        "convert": "Write a LoRA under other key names; the update stays.",
        "extract": "Make a LoRA of two models: what a fine-tune changed in its base model.",
        "apply": "Write a model with LoRAs in its weights.",
        "metadata": "Show what a file says about itself, or write it with other entries.",
    },
    "repeat and learn": {
        "run": "Do what a recipe says, a .toml file of inputs and steps; what is there stays.",
        "recipe": "Show the commands that make a file again, check its inputs, run them.",
        "methods": "Say what each way to merge does.",
        "families": "Show which models are known, and who reads and trains LoRAs for them.",
        "demo": "Take the tour: every command on two sample LoRAs, in seconds.",
        "completion": "Print what makes a shell complete commands, options and choices.",
    },
}
SUMMARIES = {name: text for group in GROUPS.values() for name, text in group.items()}
# Words that people type for a command.
ALIASES = {
    **dict.fromkeys(("merge", "mix", "combine"), "blend"),
    **dict.fromkeys(("shrink", "compress"), "resize"),
    **dict.fromkeys(("inspect", "show"), "info"),
    **dict.fromkeys(("analyse", "analysis"), "analyze"),
    **dict.fromkeys(("rename", "translate"), "convert"),
    **dict.fromkeys(("mean", "ema"), "average"),
    **dict.fromkeys(("bake", "fuse"), "apply"),
    **dict.fromkeys(("diff",), "compare"),
}


def called(word: str) -> str:
    """The command that a word means; the word itself where it means none."""
    return ALIASES.get(word, word)


def module_of(command: str) -> ModuleType:
    return import_module(f".commands.{command.replace('-', '_')}", __package__)


@cache
def parser_of(command: str) -> Parser:
    """The parser of a command, with what it runs, `run`, among its defaults."""
    module = module_of(command)
    parser = Parser(
        prog=f"lora-alloy {command}",
        description=SUMMARIES[command],
        examples=getattr(module, "EXAMPLES", ""),
    )
    module.options(parser)
    common_options(parser)
    parser.set_defaults(run=module.run, parser=parser, command=command)
    return parser


def parsers() -> Iterator[tuple[str, Parser]]:
    """Every command with its parser."""
    return ((command, parser_of(command)) for command in SUMMARIES)
