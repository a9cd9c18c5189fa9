"""What counts as a number in a name: plain digits, and few enough to be an index."""

import re

# A longer one is text like any other; so are superscripts, circled digits and other scripts'.
NUMBER = r"(?:[0-9]{1,9}(?![0-9]))"
_NUMBER = re.compile(NUMBER)


def number(segment: str) -> int | None:
    """The index that a segment of a name is, None where it is none."""
    return int(segment) if _NUMBER.fullmatch(segment) else None
