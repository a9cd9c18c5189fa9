"""What stands before a command: the options of all commands, and the help that lists these."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from ..deferred import torch
from ..version import version
from .catalogue import ALIASES, GROUPS, SUMMARIES
from .parser import Parser, common_options

EXAMPLES = """
    lora-alloy info loras/
    lora-alloy blend style.safetensors character.safetensors --weights 0.8 0.6 -o both.safetensors
    lora-alloy resize loras/ --megabytes 40 -o small/
"""


class Front(Parser):
    """The parser of what comes before a command; its help is the list of the commands."""

    def format_help(self) -> str:
        lines = [f"usage: {self.prog} COMMAND ...", "", str(self.description), ""]
        for group, commands in GROUPS.items():
            lines.append(f"{group}:")
            for name, text in commands.items():
                lines += textwrap.wrap(
                    text, 96, initial_indent=f"  {name:<13}", subsequent_indent=" " * 15
                )
            lines.append("")
        formatter = self._get_formatter()
        formatter.start_section("options, also after the command")
        formatter.add_arguments(a for a in self._actions if a.option_strings)
        formatter.end_section()
        words = ", ".join(f"{word} = {name}" for word, name in ALIASES.items())
        lines += [formatter.format_help(), f"other words: {words}", "", "examples:"]
        lines += textwrap.dedent(EXAMPLES).strip().replace("lora-alloy", "  lora-alloy").split("\n")
        return "\n".join([*lines, "", "lora-alloy COMMAND --help has each command's own.", ""])


def front_parser() -> Front:
    parser = Front(
        prog="lora-alloy",
        usage="lora-alloy COMMAND ...",
        description="Blend, shrink, take apart and check LoRA files, exactly and fast.",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="with torch's, and the device")
    common_options(parser)
    parser.set_defaults(quiet=False, verbose=False, color="auto", log=None)
    parser.front = True
    choices = [*SUMMARIES, *ALIASES]
    parser.add_argument("command", choices=choices, metavar="COMMAND")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


class Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        from ..running.stream import choose_device

        device = choose_device("auto")
        named = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        print(f"lora-alloy {version()}, torch {torch.__version__}, {named}")
        parser.exit()
