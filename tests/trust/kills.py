"""Kill commands at random moments: the outputs are whole or not there, nothing else stays.

    python -m tests.trust.kills --repetitions 200

Every repetition forks, runs one command over two LoRA files in the child and ends it after a random
part of the time that the command takes, by SIGKILL, SIGTERM, SIGINT or SIGHUP; in every other round
of commands there is an old file in the output's place. Afterwards each output is the old file, the
new one (that of an undisturbed run, to the bit) or absent, the inputs are what they were, and the
folder holds nothing else. Exits with status 1 and one line per violation otherwise.
`--named` writes as on systems without nameless files; there SIGKILL may leave one hidden file
behind, so it is left out.
"""

import argparse
import atexit
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from core.cli.main import main
from tests.helpers import KOHYA, lora_file, save

NAMES = [f"double_blocks.{i}.img_attn.proj" for i in range(24)]
COMMANDS = [
    [
        "blend",
        "a",
        "b",
        "--weights",
        "0.5",
        "0.7",
        "--rank",
        "full",
        "-o",
        "out.safetensors",
        "--force",
    ],
    [
        "select",
        "a",
        "--layers",
        "double_blocks.0-9",
        "-o",
        "out.safetensors",
        "--force",
        "--rest",
        "rest.safetensors",
    ],
    ["convert", "a", "--spelling", "kohya", "-o", "out.safetensors", "--force"],
    ["resize", "a", "--rank", "8", "-o", "out.safetensors", "--force"],
]
OLD = b"an old file"
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def start(command: list[str]) -> int:
    """Run the command in a fork, silently, as a program of its own; returns the process id."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    pid = os.fork()
    if pid != 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return pid
    status = 70
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        status = main(command)
    except KeyboardInterrupt:
        status = 1  # Before the command began, or after it.
    finally:
        try:
            atexit._run_exitfuncs()
        finally:
            os._exit(status)


def undisturbed(command: list[str]) -> tuple[dict[str, bytes], float]:
    """What the command writes, and the seconds it takes."""
    begun = time.perf_counter()
    _, status = os.waitpid(start(command), 0)
    seconds = time.perf_counter() - begun
    assert status == 0, f"{command} fails by itself"
    written = {path.name: path.read_bytes() for path in Path().glob("*.safetensors")}
    return written, seconds


def clean() -> None:
    for path in Path().iterdir():
        if path.name not in ("a", "b"):
            path.unlink()


def kill_once(
    command: list[str], number: int, after: float, old: bool, expected: dict[str, bytes]
) -> tuple[str, list[str]]:
    """(how it ended, what is wrong afterwards)."""
    clean()
    for name in expected if old else ():
        Path(name).write_bytes(OLD)
    pid = start(command)
    time.sleep(after)
    os.kill(pid, number)
    _, status = os.waitpid(pid, 0)
    left = {path.name: path.read_bytes() for path in Path().iterdir()} | {"a": b"", "b": b""}
    problems = [f"{name} stays" for name in left if name not in ("a", "b", *expected)]
    news = [name for name in expected if left.get(name) == expected[name]]
    for name in expected:
        if name not in news and left.get(name) != (OLD if old else None):
            problems.append(f"{name} is neither old nor new ({len(left.get(name, b''))} bytes)")
    if news and len(news) < len(expected):
        return "between two outputs", problems
    how = {len(expected): "after the write", 0: "before or during the write"}[len(news)]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status) not in (0, 1):
        problems.append(f"exit status {os.WEXITSTATUS(status)}")
    return how, problems


def run(repetitions: int, named: bool, seed: int) -> int:
    if named:
        del os.O_TMPFILE
    signals = SIGNALS if named else [signal.SIGKILL, *SIGNALS]
    chance = random.Random(seed)
    folder = tempfile.mkdtemp()  # Not a TemporaryDirectory, which every child would remove.
    os.chdir(folder)
    try:
        save(lora_file(NAMES, seed=1, shape=(512, 512), rank=64), "a")
        save(lora_file(NAMES, KOHYA, seed=2, shape=(512, 512), rank=64, alpha=4.0), "b")
        inputs = [Path(name).read_bytes() for name in "ab"]
        known = []
        for command in COMMANDS:
            clean()
            known.append(undisturbed(command))
        ends: Counter[str] = Counter()
        problems = []
        for i in range(repetitions):
            which = i % len(COMMANDS)
            expected, seconds = known[which]
            number, old = chance.choice(signals), i // len(COMMANDS) % 2 == 1
            after = chance.uniform(0, 1.1 * seconds)
            how, found = kill_once(COMMANDS[which], number, after, old, expected)
            ends[how] += 1
            where = f"{COMMANDS[which][0]}, {signal.Signals(number).name} after {after:.3f} s"
            problems += [f"{where}: {problem}" for problem in found]
        if [Path(name).read_bytes() for name in "ab"] != inputs:
            problems.append("an input was changed")
    finally:
        os.chdir("/")
        shutil.rmtree(folder)
    print("\n".join(problems), file=sys.stderr)
    print(json.dumps({"killed": repetitions, "wrong": len(problems), **ends}))
    return 1 if problems else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=12)
    parser.add_argument("--named", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    raise SystemExit(run(options.repetitions, options.named, options.seed))
