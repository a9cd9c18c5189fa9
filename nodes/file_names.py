"""What the tokens of a file name stand for: those that ComfyUI's page resolves for some nodes only.

%date:yyyy-MM-dd% is the day, in d, M, h, m, s, once or twice each, and yy or yyyy;
%KSampler.seed% what a widget says, of the node of that title or class. %year% to %second% stay:
ComfyUI resolves them when it looks for the next number.
"""

import re
import time
from collections.abc import Mapping
from typing import Any

TOKEN = re.compile(r"%([^%]+)%")
DATE_PART = re.compile(r"d{1,2}|M{1,2}|h{1,2}|m{1,2}|s{1,2}|yyyy|yy")
# A value becomes part of a name, never a folder.
NOT_IN_A_NAME = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def resolved(prefix: str, prompt: Mapping[str, Any]) -> str:
    """The prefix with what its tokens stand for in this prompt; what is none stays as it is."""
    return TOKEN.sub(lambda token: _meaning(token, prompt), prefix)


def _meaning(token: re.Match[str], prompt: Mapping[str, Any]) -> str:
    if token[1].startswith("date:"):
        now = time.localtime()
        return DATE_PART.sub(lambda part: _date_part(part[0], now), token[1].removeprefix("date:"))
    node, dot, widget = token[1].rpartition(".")
    for one in prompt.values():
        names = one.get("_meta", {}).get("title"), one.get("class_type")
        value = one.get("inputs", {}).get(widget)
        if dot and node in names and value is not None and not isinstance(value, list):  # a wire
            return NOT_IN_A_NAME.sub("_", str(value))
    return token[0]


def _date_part(part: str, now: time.struct_time) -> str:
    if part[0] == "y":
        return str(now.tm_year)[-len(part) :]
    of = {"d": now.tm_mday, "M": now.tm_mon, "h": now.tm_hour, "m": now.tm_min, "s": now.tm_sec}
    return str(of[part[0]]).zfill(len(part))
