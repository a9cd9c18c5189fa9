"""Hostile files for everything that reads: no crash, no hang, no memory, no error without names.

    python -m tests.trust.readers --cases 100000

A case is a file of `hostile.py`. It is opened and described, and goes through a few commands.
Allowed is a result, or a `LoraError` of one line that names the file, and the tensor or module
where one is to blame. Exits with status 1 after printing the violations, each with the seed that
makes it again (`--only SEED`).
"""

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open

from core import Lora, LoraError, SettingError
from core.insight.info import describe, summary
from core.reading.dialects import translated
from core.storage.files import open_tensors
from tests.helpers import flux_file, save
from tests.trust import hostile
from tests.trust.actions import ACTIONS

# Errors about the file as a whole; all others have to name a tensor or module.
OF_THE_WHOLE = re.compile(
    "not a readable safetensors file|no LoRA tensors in it|share no module"
    "|nothing in it that ComfyUI applies|no layer of a block"
)


def known_names(path: Path) -> set[str]:
    """What a message can name: keys, and names of modules, as the file has them or canonical."""
    with safe_open(str(path), "pt") as handle:
        keys = set(handle.keys())
    with contextlib.suppress(LoraError):
        keys |= set(translated(open_tensors(path)).info)
    names = {
        key[: -len(suffix)] for key in keys for suffix in hostile.SUFFIXES if key.endswith(suffix)
    }
    with contextlib.suppress(LoraError):
        names |= set(Lora(path).modules)
    return keys | names


def complaint(path: Path, other: Path, error: LoraError) -> str | None:
    """What is wrong with an error message, or None."""
    if len(str(error).splitlines()) != 1:
        return "has more than one line"
    if not error.fix:
        return "shows no way out"
    if not error.file or path.name not in str(error):
        return "does not name the file"
    if isinstance(error, SettingError) or OF_THE_WHOLE.search(error.problem):
        return None
    names = known_names(path) | known_names(other)
    if not any(name in place for name in names for place in (error.module, error.tensor)):
        return "names no tensor or module"
    return None


class Hang(BaseException):
    pass


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang(f"still busy after {seconds} s")

    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return
    # Of computing: a machine that does other things must not look like a hang.
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def peak() -> int:
    """The most memory that the process has had, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def check(content: bytes, folder: Path, actions: list[str], outcomes: Counter[str]) -> list[str]:
    """Violations of one case: the file is opened and described, then goes through the actions."""
    path, other = folder / "case.safetensors", folder / "sound.safetensors"
    path.write_bytes(content)
    if not other.exists():
        save(flux_file("kohya"), other)
    wrong = []

    def look(*_: object) -> None:
        lora = Lora(path)
        json.dumps(describe(lora), allow_nan=False)
        "\n".join(summary(lora)).encode("utf-8", "replace")

    for name in ("open", *actions):
        before = peak()
        try:
            with limited(20):
                (look if name == "open" else ACTIONS[name])(path, other)
            outcomes["worked"] += 1
        except LoraError as error:
            if found := complaint(path, other, error):
                wrong.append(f"{name}: the error {found}: {str(error)[:300]}")
            outcomes["refused"] += 1
            if name == "open":
                break
        except (Exception, Hang) as error:
            trace = traceback.extract_tb(error.__traceback__)[-1]
            wrong.append(
                f"{name}: {type(error).__name__}: {str(error)[:200]} "
                f"({Path(trace.filename).name}:{trace.lineno})"
            )
        if peak() - before > len(content) + 300e6:
            wrong.append(f"{name}: {(peak() - before) / 1e6:.0f} MB of memory")
    if path.read_bytes() != content:
        wrong.append("the input was changed")
    return wrong


def case(seed: int) -> tuple[bytes, list[str]]:
    """The file and three of the actions that belong to a seed."""
    chance = random.Random(seed)
    content = hostile.file(chance)
    return content, chance.sample(list(ACTIONS), 3)


def run(cases: int, first: int, only: int | None) -> int:
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    begun = time.time()
    with tempfile.TemporaryDirectory() as folder:
        check(case(0)[0], Path(folder), list(ACTIONS), Counter())  # What is loaded on first use.
        for seed in range(first, first + cases) if only is None else [only]:
            content, actions = case(seed)
            for problem in check(content, Path(folder), actions, outcomes):
                kinds[re.sub(r"[\d.]+", "N", problem.split("(")[0])[:90]] += 1
                if kinds.total() <= 200:
                    print(f"seed {seed}: {problem}", file=sys.stderr)
    print(
        json.dumps({"cases": cases, "wrong": kinds.total(), **outcomes, "peak_mb": peak() // 10**6,
                    "seconds": round(time.time() - begun)})
    )  # fmt: skip
    return 1 if kinds else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--only", type=int, metavar="SEED")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(run(options.cases, options.first, options.only))
