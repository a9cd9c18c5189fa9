"""The commands that write a LoRA: blend, resize, select, convert."""

import argparse
from inspect import signature
from typing import Any

from ..algebra.rank_rules import AUTO, FULL, RankRule
from ..edits.blend import blend
from ..edits.blend_settings import AS_IT_IS, STRENGTHS, TRUNCATIONS, Blend
from ..edits.block_weights import from_files
from ..edits.convert import convert
from ..edits.resize import resize
from ..edits.select import select
from ..merging.balance import ARGUMENTS, BALANCES, Balance, balance
from ..merging.even import Even
from ..merging.method import METHODS
from .common import (
    SELECTOR_HELP,
    add_command,
    computing,
    json_option,
    opened,
    output_options,
    output_settings,
    print_json,
    reading_options,
    say,
    show,
    verify_written,
    weights_for,
    weights_option,
)
from .outputs import LORA, claim
from .parser import float_, megabytes

EVEN = ("even", "even-file")
RULE_OPTIONS = {
    "rank": "keep this rank; full keeps everything, auto what the files have",
    "energy": "keep this share of the energy (sum of squared singular values), such as 0.95",
    "sv_ratio": "keep singular values of at least the largest divided by this",
    "sv_cumulative": "keep this share of the sum of singular values",
    "sv_fro": "keep this share of the Frobenius norm",
    "megabytes": "make the file at most this large (MB of 10^6 bytes; or 1GB), at the least error",
    "parameters": "keep at most this many parameters, at the least error",
}


def add(commands: Any) -> None:
    for add_one in (_add_blend, _add_methods, _add_resize, _add_select, _add_convert):
        add_one(commands)


def _add_blend(commands: Any) -> None:
    parser = add_command(commands, "blend", _blend, "Write the weighted sum of LoRAs as one LoRA.")
    parser.add_argument(
        "loras", metavar="A", nargs="+", help=".safetensors files for the same base model"
    )
    weights_option(parser, "strength of each file, of either sign")
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


def _add_resize(commands: Any) -> None:
    parser = add_command(commands, "resize", _resize, "Store a LoRA at lower ranks.")
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    rule_options(parser)
    parser.add_argument(
        "--layers",
        default="",
        metavar="SELECTOR",
        help="resize only these, leave the rest as it is: " + SELECTOR_HELP,
    )
    parser.add_argument("--preview", action="store_true", help="show the ranks, write nothing")
    reading_options(parser)
    output_options(parser, required=False)


def rule_options(parser: argparse.ArgumentParser, default: str = "") -> None:
    """The rules for how many ranks are kept; one of them has to be given without a default."""
    group = parser.add_argument_group(
        "how many ranks to keep" + (f" (default: {default})" * bool(default))
    )
    rules = group.add_mutually_exclusive_group(required=not default)
    for name, text in RULE_OPTIONS.items():
        kind: Any = {"rank": _rank, "parameters": int, "megabytes": megabytes}.get(name, float_)
        letter = {"rank": "N|full|auto", "parameters": "N"}.get(name, "X")
        option = "--" + name.replace("_", "-")
        rules.add_argument(option, dest=name, type=kind, help=text, metavar=letter)
    rules.add_argument("--knee", action="store_true", help="cut at the knee of each spectrum")
    group.add_argument("--min-rank", type=int, default=1, metavar="N", help="default 1")
    group.add_argument("--max-rank", type=int, metavar="N", help="default: no limit")


def chosen_rule(options: argparse.Namespace) -> RankRule:
    """The rule that the options ask for."""
    limits = options.min_rank, options.max_rank
    name = next((name for name in RULE_OPTIONS if getattr(options, name) is not None), "")
    if not name:
        return RankRule("knee" if options.knee else AUTO, 0.0, *limits)
    value = getattr(options, name)
    return (
        RankRule(value, 0.0, *limits) if isinstance(value, str) else RankRule(name, value, *limits)
    )


def _add_select(commands: Any) -> None:
    parser = add_command(
        commands, "select", _select, "Write only some layers of a LoRA, untouched, to a new file."
    )
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    parser.add_argument("--layers", required=True, metavar="SELECTOR", help=SELECTOR_HELP)
    parser.add_argument("--rest", metavar="OUT2", help="write all other layers to this file")
    reading_options(parser)
    output_options(parser, required=True)


def _add_convert(commands: Any) -> None:
    parser = add_command(
        commands, "convert", _convert, "Write a LoRA under other key names; the update stays."
    )
    parser.add_argument("lora", metavar="A", help="a .safetensors file")
    reading_options(parser)
    output_options(parser, required=True)


def _rank(text: str) -> int | str:
    if text in (FULL, AUTO):
        return text
    try:
        return int(text)
    except ValueError:
        message = f"{text!r} is neither a whole number nor full nor auto"
        raise argparse.ArgumentTypeError(message) from None


def _blend(options: argparse.Namespace) -> None:
    if options.verify and options.balance != "none":
        options.parser.error("--verify knows fixed weights only, not those of --balance")
    weights = weights_for(options, options.loras)
    settings = Blend(
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
    claim(options, options.loras, (options.output, LORA))
    with computing(options, "blend") as compute:
        loras = [opened(path, options) for path in options.loras]
        output = output_settings(options, options.output)
        edited = blend(loras, None, settings, output, compute)
    verify_written(edited, loras, options, weights, settings.block_weights)
    show(edited.report, options)


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


def _add_methods(commands: Any) -> None:
    parser = add_command(commands, "methods", _methods, "Say what each way to merge does.")
    json_option(parser)


def _methods(options: argparse.Namespace) -> None:
    if options.json:
        facts = {
            method.name: {
                "summary": method.summary,
                "paper": method.paper,
                "parameters": {
                    name: {"default": p.default, "low": p.low, "high": p.high, "meaning": p.meaning}
                    for name, p in method.parameters.items()
                },
            }
            for method in METHODS.values()
        }
        print_json({"methods": facts})
        return
    for method in METHODS.values():
        say([f"{method.name}: {method.summary}"])
        for name, p in method.parameters.items():
            say([f"    {name} (default {p.default:g}): {p.meaning}"])
        say([f"    {method.paper}"])


def _balance(options: argparse.Namespace) -> Balance | Even | None:
    if options.balance == "none":
        return None
    if options.balance in EVEN:
        return Even(options.balance == "even-file", options.balance_strength)
    known = signature(BALANCES[options.balance]).parameters
    names = ("temperature", "floor", "power", "bias", "target_strength")
    usable = [n for n in names if ARGUMENTS.get(n, n) in known or n == "target_strength"]
    return balance(options.balance, **{name: getattr(options, name) for name in usable})


def _resize(options: argparse.Namespace) -> None:
    if options.output is None and not options.preview:
        options.parser.error("resize needs -o OUT, or --preview to only show the ranks")
    rule = chosen_rule(options)
    if not options.preview:
        claim(options, [options.lora], (options.output, LORA))
    with computing(options, "resize") as compute:
        lora = opened(options.lora, options)
        edited = resize(
            lora,
            rule,
            options.layers,
            output_settings(options, options.output),
            compute,
            options.preview,
        )
    verify_written(edited, [lora], options)
    show(edited.report, options, every_row=options.preview)


def _select(options: argparse.Namespace) -> None:
    claim(options, [options.lora], (options.output, LORA), (options.rest, LORA))
    rest = output_settings(options, options.rest) if options.rest else None
    with computing(options, "select") as compute:
        lora = opened(options.lora, options)
        kept, others = select(
            lora,
            options.layers,
            output_settings(options, options.output),
            rest,
            compute,
        )
    for edited in filter(None, (kept, others)):
        verify_written(edited, [lora], options)
    if options.json:
        both = {"kept": kept.report.as_dict(), "rest": others.report.as_dict() if others else None}
        print_json(both)
        return
    for edited in filter(None, (kept, others)):
        # What one file leaves out is in the other, or was asked to go: the count is enough.
        edited.report.dropped = {} if others else edited.report.dropped
        show(edited.report, options)


def _convert(options: argparse.Namespace) -> None:
    claim(options, [options.lora], (options.output, LORA))
    with computing(options, "convert") as compute:
        lora = opened(options.lora, options)
        edited = convert(lora, output_settings(options, options.output), compute)
    verify_written(edited, [lora], options)
    show(edited.report, options)
