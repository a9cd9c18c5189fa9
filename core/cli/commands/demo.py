"""The command demo."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import FileError, LoraError
from ...shipped import samples
from ...storage.atomic import write_file
from ..outputs import LORA, claim, force_option
from ..parser import Parser

EXAMPLES = """
    lora-alloy demo
"""


def options(parser: Parser) -> None:
    parser.add_argument(
        "--output-dir",
        default="lora-alloy-demo",
        metavar="DIR",
        help="where the results go (default ./lora-alloy-demo)",
    )
    force_option(parser)


def run(options: argparse.Namespace) -> None:
    main = options.program
    folder = Path(options.output_dir)
    style = str(folder / "style_diffusers.safetensors")
    character = str(folder / "character_kohya.safetensors")
    out = {
        name: str(folder / f"{name}.safetensors")
        for name in ("blend", "exact", "small", "double_blocks", "rest", "kohya")
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot be made a folder ({error.strerror})", fix="choose another", file=str(folder)
        ) from error
    claim(options, [], *((path, LORA) for path in (style, character, *out.values())))
    for sample in samples():
        write_file(folder / sample.name, sample.read_bytes(), options.force)
    weights = ["--weights", "0.8", "0.6"]
    tour = [
        (
            "What is in the two sample LoRAs? One has diffusers names, the other kohya's.",
            [["info", style], ["info", character]],
        ),
        (
            "Blend them to rank 8, and check the file that was written.",
            [
                ["blend", style, character, *weights, "--rank", "8", "-o", out["blend"]],
                ["verify", out["blend"], "--inputs", style, character, *weights],
            ],
        ),
        (
            "Blend them without losing anything.",
            [
                ["blend", style, character, *weights, "--rank", "full", "-o", out["exact"]],
                ["verify", out["exact"], "--inputs", style, character, *weights],
            ],
        ),
        (
            "Shrink one to 100 kB: the ranks go where they matter.",
            [["resize", character, "--megabytes", "0.1", "-o", out["small"]]],
        ),
        (
            "Take it apart: the double blocks in one file, everything else in another.",
            [
                [
                    "select",
                    character,
                    "--layers",
                    "double_blocks",
                    "-o",
                    out["double_blocks"],
                    "--rest",
                    out["rest"],
                ]
            ],
        ),
        (
            "Give the diffusers file kohya's names; split projections become fused ones.",
            [["convert", style, "--spelling", "kohya", "-o", out["kohya"]]],
        ),
    ]
    for text, commands in tour:
        print(f"\n# {text}")
        for arguments in commands:
            if options.force and "-o" in arguments:
                arguments = [*arguments, "--force"]
            print("$ lora-alloy " + " ".join(arguments))
            # The tour runs the real commands, from the top.
            if main(arguments) != 0:
                raise LoraError(
                    "the tour stopped at the command above", fix="do what its error says"
                )
    print(f"\nThe results are in {folder}.")
