"""The command demo."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import FileError, LoraError
from ...shipped import samples
from ...storage.atomic import write_file
from ..outputs import CHART, LORA, claim, force_option
from ..parser import Parser
from ..printing import line, say

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
        for name in ("blend", "small", "double_blocks", "rest", "top", "kohya")
    }
    chart = str(folder / "blocks.png")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot be made a folder ({error.strerror})", fix="choose another", file=str(folder)
        ) from error
    claim(options, [], (chart, CHART), *((p, LORA) for p in (style, character, *out.values())))
    for sample in samples():
        write_file(folder / sample.name, sample.read_bytes(), options.force)
    weights = ["--weights", "0.8", "0.6"]
    tour: list[tuple[str, list[list[str]]]] = [
        (
            "What is in the two sample LoRAs? One has diffusers names, the other kohya's.",
            [["info", style, character]],
        ),
        ("Do they fight?", [["compare", style, character]]),
        (
            "Blend them to rank 8, and check the file by the recipe that it carries.",
            [
                ["blend", style, character, *weights, "--rank", "8", "-o", out["blend"]],
                ["verify", out["blend"]],
            ],
        ),
        (
            "Shrink one to 100 kB: the ranks go where they matter.",
            [["resize", character, "--megabytes", "0.1", "-o", out["small"]]],
        ),
        (
            "Which layers and blocks matter? In numbers, and as a picture.",
            [
                ["analyze", style, "--top", "3", "--chart", chart],
                ["top-blocks", style, "--threshold", "0.5", "-o", out["top"]],
            ],
        ),
        (
            "Take it apart: the double blocks in one file, everything else in another.",
            [
                [
                    *("select", character, "--layers", "double_blocks"),
                    *("-o", out["double_blocks"], "--rest", out["rest"]),
                ]
            ],
        ),
        (
            "Give the diffusers file kohya's names; split projections become fused ones.",
            [["convert", style, "--spelling", "kohya", "-o", out["kohya"]]],
        ),
    ]
    for text, commands in tour:
        line()
        line(f"# {text}", "bold")
        for arguments in commands:
            if options.force and {"-o", "--chart"} & set(arguments):
                arguments = [*arguments, "--force"]
            line("$ lora-alloy " + " ".join(arguments))
            # The tour runs the real commands, from the top.
            if main(arguments) != 0:
                raise LoraError(
                    "the tour stopped at the command above", fix="do what its error says"
                )
    line()
    say([f"the results are in {folder}, the picture is {chart}"])
