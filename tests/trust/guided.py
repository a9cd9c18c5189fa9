"""Hostile files that grow: atheris keeps those that reach code that none reached before.

    pip install atheris && python -m tests.trust.guided --cases 100000

What `hostile.py` draws by chance is the start; from there on headers and bytes of what was kept are
changed. Every case is opened and described, and every fourth goes through one of the commands, with
the same check. Stops at the first violation with status 1 and leaves the case in the folder.
"""

import argparse
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import atheris
import matplotlib  # noqa: F401 - what is not to be watched is imported before
import pandas  # noqa: F401
import safetensors.torch  # noqa: F401
import torch  # noqa: F401

with atheris.instrument_imports(include=["core"]):
    from tests.trust import hostile, readers

LARGEST = 1 << 16
NAMES = [*hostile.NAMES, *hostile.ODD_NAMES]
VALUES: list[Any] = [*hostile.INTEGERS, *hostile.RARE_DTYPES, *hostile.SIZES, [], {}, [0, 4], 1.5]


def parts(content: bytes) -> tuple[list[tuple[str, Any]], bytes] | None:
    """(entries of the header, the data) of a file whose header can be read."""
    size = int.from_bytes(content[:8], "little")
    if not 2 <= size <= len(content) - 8:
        return None
    try:
        entries = json.loads(content[8 : 8 + size], object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entries, list) or not all(isinstance(entry, tuple) for entry in entries):
        return None
    return entries, content[8 + size :]


def text_of(value: Any) -> str:
    """JSON of what `parts` read: a list of pairs is an object, whose keys may repeat."""
    if isinstance(value, list) and value and all(isinstance(entry, tuple) for entry in value):
        return "{" + ",".join(f"{json.dumps(k)}:{text_of(v)}" for k, v in value) + "}"
    return json.dumps(value)


def changed(entries: list[tuple[str, Any]], chance: random.Random) -> list[tuple[str, Any]]:
    """One thing in the header is another: a name, a suffix, a field, an entry too many or few."""
    entries = list(entries) or [("x.alpha", [])]
    at = chance.randrange(len(entries))
    key, value = entries[at]
    match chance.randrange(6):
        case 0:
            entries[at] = chance.choice(NAMES) + chance.choice(hostile.SUFFIXES), value
        case 1:
            entries[at] = key.rpartition(".")[0] + chance.choice(hostile.SUFFIXES), value
        case 2:
            entries.insert(chance.randrange(len(entries) + 1), (key, value))
        case 3:
            del entries[at]
        case 4:
            other = chance.choice(entries)[1]
            entries[at] = key, other
        case _ if isinstance(value, list) and value and isinstance(value[0], tuple):
            field = chance.randrange(len(value))
            new: Any = chance.choice([*VALUES, *hostile.ODD_JSON[:8]])
            if isinstance(value[field][1], list) and value[field][1] and chance.random() < 0.7:
                new = list(value[field][1])
                new[chance.randrange(len(new))] = chance.choice(hostile.INTEGERS)
            entries[at] = key, [*value[:field], (value[field][0], new), *value[field + 1 :]]
    return entries


def mutate(content: bytes, largest: int, seed: int) -> bytes:
    chance = random.Random(seed)
    found = parts(content)
    if found is None or chance.random() < 0.1:
        return hostile.file(chance)[:largest]
    entries, data = found
    text = content[8 : len(content) - len(data)]
    match chance.randrange(4):
        case 0:
            data = atheris.Mutate(data, max(1, largest // 2))
        case 1:
            text = atheris.Mutate(text, max(1, largest // 2))
        case _:
            for _ in range(chance.randint(1, 3)):
                entries = changed(entries, chance)
            text = text_of(entries).encode("utf-8", "surrogatepass")
    return (struct.pack("<Q", len(text)) + text + data)[:largest]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="guided-"))
    (folder / "corpus").mkdir()
    for seed in range(200):
        (folder / "corpus" / f"{seed}").write_bytes(readers.case(seed)[0][:LARGEST])
    readers.check(readers.case(0)[0], folder, list(readers.ACTIONS), Counter())
    outcomes: Counter[str] = Counter()
    begun = time.time()
    done = 0

    def one(content: bytes) -> None:
        nonlocal done
        done += 1
        chance = random.Random(content)
        actions = [chance.choice(list(readers.ACTIONS))] if chance.random() < 0.25 else []
        wrong = readers.check(content, folder, actions, outcomes)
        if done == options.cases or wrong:
            seconds = round(time.time() - begun)
            print(json.dumps({"cases": done, "wrong": len(wrong), **outcomes,
                              "peak_mb": readers.peak() // 10**6, "seconds": seconds}))  # fmt: skip
        if wrong:
            print("\n".join(wrong), f"the case: {folder}/case.safetensors", sep="\n", flush=True)
            sys.exit(1)

    arguments = [sys.argv[0], str(folder / "corpus"), f"-runs={options.cases}", "-len_control=0",
                 f"-max_len={LARGEST}", f"-seed={options.seed}", "-rss_limit_mb=0", "-timeout=1200",
                 f"-artifact_prefix={folder}/"]  # fmt: skip
    atheris.Setup(arguments, one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
