"""What a file says, quoted for where it is shown: names and metadata are other people's.

One function for each place. What is shown is never obeyed: not by a terminal, a spreadsheet, a
Markdown viewer, ComfyUI's page or matplotlib.
"""

import re
import unicodedata

# Control characters, halves of characters, and what turns the direction of text or breaks lines.
UNSEEN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
FORMULA = re.compile(r"\s*[=+\-@]")
MARKS = re.compile(r"[\\`\[\]<>|*~]")
# Addresses; underscores around words; entities; a heading or a list at the start of a line.
SIGNS = re.compile(
    r"(?i):(?=//)|(?<=www)\.|@|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)"
    r"|^(?:#{1,6}|[+=-])(?=\s)|(?<=^\d)[.)](?=\s)|(?<=^\d\d)[.)](?=\s)"
)


def terminal(text: str) -> str:
    """One line without anything that moves the cursor, colours, or turns text around."""
    return UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def csv(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: a quote mark stands before it."""
    text = terminal(text)
    return "'" + text if FORMULA.match(text) else text


def markdown(text: str) -> str:
    """Text that Markdown shows as it stands: no pictures, links, tags or tables of its own."""
    return SIGNS.sub(r"\\\g<0>", MARKS.sub(r"\\\g<0>", terminal(text).lstrip()))


def chart(text: str) -> str:
    """Text for a picture: what has no shape is escaped. `$` means nothing there: see STYLE."""
    return "".join(
        letter if unicodedata.category(letter)[0] != "C" else ascii(letter)[1:-1]
        for letter in terminal(text)
    )
