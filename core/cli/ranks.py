"""How many ranks to keep: the options, and the rule that they mean."""

from __future__ import annotations

import argparse
from typing import Any

from ..algebra.rank_rules import AUTO, FULL, RankRule
from .parser import float_, megabytes

RULE_OPTIONS = {
    "rank": "keep this rank; full keeps everything, auto what the files have",
    "energy": "keep this share of the energy (sum of squared singular values), such as 0.95",
    "sv_ratio": "keep singular values of at least the largest divided by this",
    "sv_cumulative": "keep this share of the sum of singular values",
    "sv_fro": "keep this share of the Frobenius norm",
    "megabytes": "make the file at most this large (MB of 10^6 bytes; or 1GB), at the least error",
    "parameters": "keep at most this many parameters, at the least error",
}


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


def _rank(text: str) -> int | str:
    if text in (FULL, AUTO):
        return text
    try:
        return int(text)
    except ValueError:
        message = f"{text!r} is neither a whole number nor full nor auto"
        raise argparse.ArgumentTypeError(message) from None
