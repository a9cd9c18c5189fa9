"""Hostile environments: whatever a command lacks, it says so in a line, and nothing is half there.

    python -m tests.trust.environments --runs 200

A run is one command of `lora-alloy` as a program of its own, with one thing wrong around it: little
memory, few threads, few open files, small files only, closed or full streams, odd encodings, no
home, a folder that may not be written to, an interpreter that optimises. Afterwards the exit status
is 0 with whole outputs, or 1 with a line that names a way out and no new file; no traceback, no
silence, and an end within two minutes. Exits with status 1 and one line per violation otherwise.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from core import Lora, LoraError
from tests.helpers import KOHYA, lora_file, save

ROOT = Path(__file__).parents[2]
NAMES = [f"double_blocks.{i}.img_attn.proj" for i in range(6)]
COMMANDS = [
    "blend a b --weights 0.5 0.7 -o out.safetensors",
    "blend a b --rank full --dtype fp16 --verify -o out.safetensors",
    "resize a --energy 0.9 -o out.safetensors",
    "select a --layers double_blocks.0-2 -o out.safetensors --rest rest.safetensors",
    "convert a --spelling kohya -o out.safetensors",
    "metadata a --title x -o out.safetensors",
    "top-blocks a --threshold 0.5 -o out.safetensors --chart out.png",
    "analyze a --csv out.csv --chart out.svg",
    "analyze a --statistics full --json",
    "compare a b",
    "verify a --inputs a",
    "info a",
]
# Root has as many threads as it wants: this is somebody else, who may read all files as root does.
SOMEBODY = (
    "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+dac_override "
    "--ambient-caps=+dac_override"
)
SOMEBODY_ELSE = os.geteuid() == 0 and shutil.which("setpriv") is not None
# What may be said twice, or by somebody else: the interpreter, before main begins; matplotlib.
OTHERS = re.compile("warn|Warning|Matplotlib|fontconfig|mkdir|temporary", re.IGNORECASE)


def limited(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


def environments(chance: random.Random) -> tuple[str, dict[str, object]]:
    """(what is wrong, arguments of Popen)."""
    memory = chance.choice([200, 300, 400, 500, 600, 700, 800, 1000, 1300, 1600, 2000, 3000, 4000])
    files = chance.choice([4, 8, 12, 16, 24, 40, 80])
    size = chance.choice([1, 1000, 20_000, 60_000, 100_000])
    number = chance.choice([1, 2, 3, 5, 9])
    choices: list[tuple[str, dict[str, object]]] = [
        (f"{memory} MB of memory", {"preexec_fn": limited(resource.RLIMIT_AS, memory << 20)}),
        (f"{files} open files", {"preexec_fn": limited(resource.RLIMIT_NOFILE, files)}),
        (f"files of {size} bytes", {"preexec_fn": limited(resource.RLIMIT_FSIZE, size)}),
        ("a small stack", {"preexec_fn": limited(resource.RLIMIT_STACK, 1 << 20)}),
        ("standard output full", {"stdout": "/dev/full"}),
        ("standard error full", {"stderr": "/dev/full"}),
        ("no standard output", {"closed": ">&-"}),
        ("no standard error", {"closed": "2>&-"}),
        ("no streams", {"closed": "<&- >&- 2>&-"}),
        *(
            (f"{name}={value}", {"env": {name: value}})
            for name, value in [
                ("PYTHONIOENCODING", "ascii"), ("PYTHONIOENCODING", "cp1252"), ("LC_ALL", "C"),
                ("HOME", "/nowhere"), ("MPLCONFIGDIR", "/proc/nowhere"), ("TMPDIR", "/nowhere"),
                ("PYTHONOPTIMIZE", "2"), ("PYTHONUTF8", "0"), ("COLUMNS", "1"), ("TERM", ""),
                ("OMP_NUM_THREADS", "64"), ("MPLBACKEND", "TkAgg"), ("NO_COLOR", "1"),
                ("SOURCE_DATE_EPOCH", "x"), ("PYTHONWARNINGS", "error"), ("LANG", "tr_TR.UTF-8"),
            ]
        ),
    ]  # fmt: skip
    if SOMEBODY_ELSE:
        few = {"preexec_fn": limited(resource.RLIMIT_NPROC, number), "as": SOMEBODY}
        choices += [(f"{number} threads", few)] * 4
    return chance.choice([*choices, *choices[:1] * 8])


def violations(folder: Path, command: str, environment: dict[str, object]) -> list[str]:
    """What is wrong after a command has run so."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    line = f"exec {environment.get('as', '')} {sys.executable} -m core {command} "
    line += str(environment.get("closed", ""))
    streams = {
        name: open(path, "w") if (path := environment.get(name)) else subprocess.PIPE  # noqa: SIM115
        for name in ("stdout", "stderr")
    }
    more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    more |= environment.get("env", {})  # type: ignore[operator]
    try:
        found = subprocess.run(
            ["sh", "-c", line], cwd=folder, env=os.environ | more, timeout=120,
            preexec_fn=environment.get("preexec_fn"), stdin=subprocess.DEVNULL, **streams,
        )  # type: ignore[call-overload]  # fmt: skip
    except subprocess.TimeoutExpired:
        return ["does not end"]
    out, err = ((text or b"").decode("utf-8", "replace") for text in (found.stdout, found.stderr))
    wrong = []
    if "Traceback" in err or found.returncode not in (0, 1):
        wrong.append(f"status {found.returncode}: {err[-400:]!a}")
    lines = [one for one in err.splitlines() if not OTHERS.search(one)]
    told = "stderr" not in environment and "2>" not in str(environment.get("closed"))
    # What cannot be shown has no other way out than the line that says so.
    fine = len(lines) == 1 and (";" in lines[0] or "the output cannot be shown" in lines[0])
    if found.returncode == 1 and told and not fine:
        wrong.append(f"fails with {lines[:3]!a}")
    left = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for name, content in before.items():
        if left.get(name) != content:
            wrong.append(f"{name} is not what it was")
    for name in left.keys() - before.keys():
        try:
            if name.endswith(".safetensors"):
                Lora(folder / name)
            elif not name.startswith("out.") or not left[name]:
                wrong.append(f"{name} stays")
        except LoraError as error:
            wrong.append(f"{name} is not whole: {error}")
    asked = [word for word in command.split() if re.match(r"(out|rest)\.", word)]
    if found.returncode == 0 and (missing := [name for name in asked if name not in left]):
        wrong.append(f"ends well without {missing}")
    if found.returncode == 0 and not out and told and not asked and "closed" not in environment:
        wrong.append("says nothing")
    return wrong


def run(runs: int, seed: int) -> int:
    chance = random.Random(seed)
    problems: list[str] = []
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        for i in range(runs):
            folder = Path(name) / str(i)
            folder.mkdir()
            save(lora_file(NAMES, seed=1, shape=(64, 64), rank=8), folder / "a")
            save(lora_file(NAMES, KOHYA, seed=2, shape=(64, 64), rank=4, alpha=4.0), folder / "b")
            what, environment = environments(chance)
            command = COMMANDS[i % len(COMMANDS)]
            found = violations(folder, command, environment)
            counts[re.sub(r"\d+", "N", what)] += 1
            problems += [f"{what}: {command}: {problem}" for problem in found]
    print("\n".join(problems), file=sys.stderr)
    print(json.dumps({"runs": runs, "wrong": len(problems), "environments": len(counts)}))
    return 1 if problems else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    raise SystemExit(run(options.runs, options.seed))
