"""A parser that takes no abbreviations and suggests what was meant, and types that explain."""

import argparse
import re
import sys
import textwrap
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

COLORS = ("auto", "always", "never")
# What other tools call things. (Words that are taken for a command are ALIASES of the catalogue.)
SYNONYMS = {
    **dict.fromkeys(("add", "concat"), "blend"),
    **dict.fromkeys(("post-hoc-ema",), "average"),
    **dict.fromkeys(("reduce", "svd"), "resize"),
    **dict.fromkeys(("filter", "split", "prune"), "select"),
    **dict.fromkeys(("list", "ls"), "info"),
    **dict.fromkeys(("check", "measure"), "verify"),
    **dict.fromkeys(("--new-rank", "--dim", "--network-dim", "--target-rank"), "--rank"),
    **dict.fromkeys(("--ratios", "--ratio", "--strengths"), "--weights"),
    **dict.fromkeys(("--save-to", "--out", "--output-path"), "--output"),
    **dict.fromkeys(("--save-precision", "--precision"), "--dtype"),
    **dict.fromkeys(("--lbw", "--block-vector"), "--block-weights"),
    **dict.fromkeys(("--blocks", "--include", "--exclude"), "--layers"),
    **dict.fromkeys(("--size", "--max-size", "--mb"), "--megabytes"),
}


class UsageError(Exception):
    """A command line that a parser does not take."""


class Parser(argparse.ArgumentParser):
    """argparse's, with errors that name the nearest option, command or choice."""

    def __init__(self, examples: str = "", **settings: Any) -> None:
        """`examples` are command lines, each after a comment that says what it is for."""
        if examples:
            settings["epilog"] = "examples:\n" + textwrap.indent(
                textwrap.dedent(examples).strip(), "  "
            )
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings, allow_abbrev=False)
        self.front = self.raising = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse's. An unknown option goes before whatever else may be wrong."""
        words = list(sys.argv[1:] if args is None else args)
        for word in words:
            if word == "--" or (self.front and not word.startswith("-")):
                break  # What follows a command is for its own parser.
            option = word.partition("=")[0]
            if option.startswith("--") and option not in self._option_string_actions:
                hint = suggestion(option, self._option_string_actions)
                self.error(f"there is no option {option}" + (hint or "; --help lists them"))
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> Any:
        """Ends the program with status 2; raises UsageError instead for who is `raising`."""
        if found := re.search(r"invalid choice: '?(.*?)'? \(choose from (.*)\)", message):
            message += suggestion(found[1], re.findall(r"[\w.-]+", found[2]))
        if self.raising:
            raise UsageError(message)
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


def common_options(parser: argparse.ArgumentParser) -> None:
    """What can be said before and after every command. Without defaults, which would undo it."""
    default = argparse.SUPPRESS
    group = parser.add_argument_group("what is said")
    group.add_argument("-q", "--quiet", action="store_true", default=default, help="only errors")
    group.add_argument(
        "-v", "--verbose", action="store_true", default=default, help="every row, and the time"
    )
    group.add_argument(
        "--color",
        choices=COLORS,
        default=default,
        help="auto is on terminals, unless NO_COLOR is set (default auto)",
    )
    group.add_argument("--log", metavar="FILE", default=default, help="append all that is said")
