"""The command blend."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from inspect import signature
from pathlib import Path

from ...edits.blend import blend
from ...edits.blend_settings import AS_IT_IS, STRENGTHS, TRUNCATIONS, Blend
from ...edits.block_weights import from_files
from ...merging.balance import ARGUMENTS, BALANCES, Balance, balance
from ...merging.even import Even
from ...merging.method import METHODS
from ..computing import computing, verify_written
from ..inputs import Job, filled, run_options, settings_of
from ..many import Done, each, edits
from ..options import (
    SELECTOR_HELP,
    grid_of,
    opened,
    output_options,
    output_settings,
    reading_options,
    weights_option,
)
from ..outputs import LORA
from ..parser import Parser, float_
from ..ranks import chosen_rule, rule_options

EVEN = ("even", "even-file")


EXAMPLES = """
    # two at their weights, at the rank that loses nothing
    lora-alloy blend style.safetensors character.safetensors --weights 0.8 0.6 --rank full \\
        -o both.safetensors
    # as large as the larger of them in each layer
    lora-alloy blend style.safetensors character.safetensors --strength auto -o auto.safetensors
    # a grid: 0, 0.5 and 1 of the first
    lora-alloy blend style.safetensors character.safetensors --weights 0:1:0.5 0.5 \\
        -o "grid/{w1}_{w2}.safetensors"
"""


def options(parser: Parser) -> None:
    parser.add_argument(
        "loras", metavar="A", nargs="+", help=".safetensors files for the same base model"
    )
    weights_option(
        parser,
        "strength of each file, of either sign; FROM:TO:STEP for a file of each",
    )
    rule_options(parser, "auto, the largest of the files' ranks in each layer")
    parser.add_argument(
        "--method",
        choices=sorted(METHODS),
        default="sum",
        help="how the files become one: sum adds them; lora-alloy methods says what the others do "
        "(default sum)",
    )
    parser.add_argument(
        "--parameter",
        dest="parameter",
        action="append",
        default=[],
        metavar="NAME=X",
        help="a parameter of the method; can be given several times",
    )
    parser.add_argument(
        "--strength",
        choices=STRENGTHS,
        default=AS_IT_IS,
        help="auto scales each layer to be as large as the largest of its inputs, auto-file all "
        "layers by one factor; the report says how large the result is in any case",
    )
    parser.add_argument(
        "--truncation",
        choices=TRUNCATIONS,
        default="svd",
        help="svd is exact; pca is randomised (default svd)",
    )
    parser.add_argument("--oversampling", type=int, default=8, help="for pca (default 8)")
    parser.add_argument("--power-iterations", type=int, default=2, help="for pca (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="for what draws at random (default 0)")
    parser.add_argument("--layers", default="", metavar="SELECTOR", help=SELECTOR_HELP)
    parser.add_argument(
        "--block-weights",
        default="",
        metavar="TEXT",
        help="'pattern: w1, w2, ...', separated by ';' or lines, multiplied onto the "
        "weights; the last that matches a layer counts; also lbw=OUTD, lbw=1,0,... and @FILE:NAME",
    )
    parser.add_argument(
        "--balance",
        choices=("none", *EVEN, *BALANCES),
        default="none",
        help="even gives all files the same size in each layer, even-file as a whole; the others, "
        "by spectral norms, let the stronger one lead (default none)",
    )
    parser.add_argument(
        "--balance-strength",
        type=float_,
        default=1.0,
        metavar="X",
        help="of even and even-file, from 0 (none) to 1 (full, the default)",
    )
    parser.add_argument("--temperature", type=float_, default=1.0, help="of softmax and sigmoid")
    parser.add_argument(
        "--floor", type=float_, help="least share (softmax) or norm (other balances)"
    )
    parser.add_argument("--power", type=float_, default=0.5, help="of powerlaw (default 0.5)")
    parser.add_argument("--bias", type=float_, default=0.0, help="of sigmoid; above 0 favours A")
    parser.add_argument(
        "--target-strength",
        type=float_,
        help="what the weighted norms of a layer add up to (default 1; softmax rescales only when "
        "this is given)",
    )
    parser.add_argument("--keep-zero", action="store_true", help="keep layers that cancel to zero")
    reading_options(parser)
    output_options(parser, required=True)
    run_options(parser.add_argument_group("several files"))


def run(options: argparse.Namespace) -> int:
    if options.verify and options.balance != "none":
        options.parser.error("--verify knows fixed weights only, not those of --balance")
    _settings(options, [1.0] * len(options.loras))
    points = grid_of(options, options.loras)
    if len(points) > 1 and "{" not in options.output:
        options.parser.error(
            'several weights make several files: -o needs a name for each, "grid/{w1}_{w2}'
            '.safetensors"'
        )
    work = [_job(options, number, point) for number, point in enumerate(points, 1)]
    return each(options, _blend, {"output": LORA}, work=work, given=options.loras)


def _job(options: argparse.Namespace, number: int, weights: Sequence[float]) -> Job:
    """One point of a grid."""
    named = {f"w{i}": weight for i, weight in enumerate(weights, 1)}
    output = options.output
    if "{" in output:
        stems = {f"stem{i}": Path(path).stem for i, path in enumerate(options.loras, 1)}
        stems["stem"] = Path(options.loras[0]).stem
        fields = {**settings_of(options), **named, **stems, "number": number}
        output = filled(output, fields)
    label = " ".join(f"{weight:g}" for weight in weights)
    return Job(f"weights {label}", "", number, {"output": output}, {"weights": list(weights)})


def _settings(options: argparse.Namespace, weights: Sequence[float]) -> Blend:
    return Blend(
        weights,
        chosen_rule(options),
        options.method,
        _parameters(options),
        options.strength,
        options.layers,
        from_files(options.block_weights),
        not options.keep_zero,
        truncation=options.truncation,
        oversampling=options.oversampling,
        power_iterations=options.power_iterations,
        seed=options.seed,
        balance=_balance(options),
    )


def _blend(options: argparse.Namespace) -> Done:
    settings = _settings(options, options.weights)
    with computing(options, "blend") as compute:
        loras = [opened(path, options) for path in options.loras]
        edited = blend(loras, None, settings, output_settings(options, options.output), compute)
    verify_written(edited, loras, options, options.weights, settings.block_weights)
    return edits(options, {"output": edited.report})


def _parameters(options: argparse.Namespace) -> dict[str, float | bool]:
    """`name=value` pairs as the method's parameters."""
    words: dict[str, bool] = {"true": True, "false": False}
    found: dict[str, float | bool] = {}
    for pair in options.parameter:
        name, _, text = pair.partition("=")
        try:
            found[name] = words[text] if text in words else float(text)
        except ValueError:
            options.parser.error(f"--parameter {pair}: give it as NAME=NUMBER")
    return found


def _balance(options: argparse.Namespace) -> Balance | Even | None:
    if options.balance == "none":
        return None
    if options.balance in EVEN:
        return Even(options.balance == "even-file", options.balance_strength)
    known = signature(BALANCES[options.balance]).parameters
    names = ("temperature", "floor", "power", "bias", "target_strength")
    usable = [n for n in names if ARGUMENTS.get(n, n) in known or n == "target_strength"]
    return balance(options.balance, **{name: getattr(options, name) for name in usable})
