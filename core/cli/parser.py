"""A parser that takes no abbreviations and suggests what was meant, and types that explain."""

import argparse
import re
import sys
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

# What other tools call things.
SYNONYMS = {
    **dict.fromkeys(("merge", "mix", "combine", "add", "concat"), "blend"),
    **dict.fromkeys(("mean", "ema", "post-hoc-ema"), "average"),
    **dict.fromkeys(("shrink", "reduce", "compress", "svd"), "resize"),
    **dict.fromkeys(("extract", "filter", "split", "prune"), "select"),
    **dict.fromkeys(("rename", "translate"), "convert"),
    **dict.fromkeys(("show", "inspect", "list"), "info"),
    **dict.fromkeys(("check", "compare", "diff"), "verify"),
    **dict.fromkeys(("--new-rank", "--dim", "--network-dim", "--target-rank"), "--rank"),
    **dict.fromkeys(("--ratios", "--ratio", "--strengths"), "--weights"),
    **dict.fromkeys(("--save-to", "--out", "--output-path"), "--output"),
    **dict.fromkeys(("--save-precision", "--precision"), "--dtype"),
    **dict.fromkeys(("--lbw", "--block-vector"), "--block-weights"),
    **dict.fromkeys(("--blocks", "--include", "--exclude"), "--layers"),
    **dict.fromkeys(("--size", "--max-size", "--mb"), "--megabytes"),
}


class Parser(argparse.ArgumentParser):
    """argparse's, with errors that name the nearest option, command or choice."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False} | settings)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse's. An unknown option goes before whatever else may be wrong."""
        words = list(sys.argv[1:] if args is None else args)
        for word in words:
            if word == "--" or (self._subparsers and not word.startswith("-")):
                break  # What follows a command is for its own parser.
            option = word.partition("=")[0]
            if option.startswith("--") and option not in self._option_string_actions:
                hint = suggestion(option, self._option_string_actions)
                self.error(f"there is no option {option}" + (hint or "; --help lists them"))
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> Any:
        if found := re.search(r"invalid choice: '?(.*?)'? \(choose from (.*)\)", message):
            message += suggestion(found[1], re.findall(r"[\w.-]+", found[2]))
        super().error(message)


def suggestion(word: str, choices: Collection[str]) -> str:
    """`; did you mean X?`, or nothing."""
    plain = word.lower().replace("_", "-")
    known = SYNONYMS.get(plain)
    close = [known] if known in choices else get_close_matches(plain, choices, 1)
    return f"; did you mean {close[0]}?" if close else ""


def float_(text: str) -> float:
    """A number. What has a comma in it could be one or several, and is explained."""
    try:
        return float(text)
    except ValueError:
        problem = f"{text!r} is no number"
    if re.fullmatch(r"-?\d*,\d+", text):
        problem += f"; with a decimal point it is {text.replace(',', '.')}"
        problem += f", two numbers are {text.replace(',', ' ')}"
    raise argparse.ArgumentTypeError(problem)


def megabytes(text: str) -> float:
    """A number of MB, also written with its unit: 40, 40MB, 0.5 GB."""
    found = re.fullmatch(r"(.*?)\s*(k|m|g)b?", text.strip(), re.IGNORECASE)
    if found is None:
        return float_(text)
    return float_(found[1]) * {"k": 1e-3, "m": 1.0, "g": 1e3}[found[2].lower()]
