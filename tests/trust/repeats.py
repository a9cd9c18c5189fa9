"""The same inputs give the same bytes, and many runs in one process leave nothing behind.

    python -m tests.trust.repeats --runs 100

Runs every edit that many times in one process, over files and state dicts in turn, and compares
memory, open and mapped files and threads with what they were after the first tenth of the runs; the
CPU time of a run in the first and in the last tenth is printed. Then runs the edits in new
processes with other numbers of threads, workers and CPUs, and compares the files' hashes. Exits
with status 1 and one line per difference. `--processors` measures instead how far the results are
from those of other vector instructions.
"""

import argparse
import gc
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file

from core import (
    Blend,
    Compute,
    Output,
    RankRule,
    analyze_lora,
    blend,
    convert,
    dyn_weights_proportional,
    resize,
    select,
    verify,
)
from tests.core.kinds import loha, lokr
from tests.helpers import KOHYA, dense, error, lora_file, randn, same_bits, save

NAMES = [f"double_blocks.{i}.img_attn.proj" for i in range(10)]
BALANCED = Blend((1.0, -0.5), 5, balance=dyn_weights_proportional())
EDITS = {
    "blend exactly": lambda a, b, out, how: blend(a, b, Blend((0.5, 0.7), "full"), out, how),
    "blend by svd": lambda a, b, out, how: blend(a, b, Blend((0.5, 0.7), 6), out, how),
    "blend by pca": lambda a, b, out, how: blend(
        a, b, Blend((0.5, 0.7), 6, truncation="pca"), out, how
    ),
    "blend balanced": lambda a, b, out, how: blend(a, b, BALANCED, out, how),
    "resize": lambda a, b, out, how: resize(a, RankRule("energy", 0.9), "", out, how),
    "resize to a size": lambda a, b, out, how: resize(
        a, RankRule("parameters", 20_000), "", out, how
    ),
    "select": lambda a, b, out, how: select(a, "double_blocks.0-4", out, compute=how)[0],
    "convert": lambda a, b, out, how: convert(b, Output(out.path, "fp16", "kohya"), how),
}


def write_inputs(folder: Path) -> None:
    first = lora_file(NAMES, seed=1, shape=(96, 64), rank=12)
    first |= loha("double_blocks.0.img_mlp.0", 24, 16, 2, 3) | lokr("k", (8, 4), (4, 4), 1)
    first |= {"d.diff": randn((16, 12)), "d.diff_b": randn((16,)), "odd": torch.ones(3)}
    save(first, folder / "a.safetensors")
    second = lora_file(NAMES, KOHYA, seed=2, shape=(96, 64), rank=8, alpha=4.0)
    save(second, folder / "b.safetensors")


def digests(folder: Path, workers: int | None) -> dict[str, str]:
    """The SHA-256 of what every edit writes."""
    a, b, out = (folder / f"{name}.safetensors" for name in ("a", "b", f"out{os.getpid()}"))
    found = {}
    for name, edit in EDITS.items():
        edit(a, b, Output(out), Compute(workers=workers))
        found[name] = hashlib.sha256(out.read_bytes()).hexdigest()
        out.unlink()
    return found


# (threads that torch is told to use, workers, CPUs where the system can choose them)
SETTINGS = [(1, 1, 1), (8, 8, 99), (2, None, 1), (3, 5, 99), (1, 2, 1), (2, None, 99)]


def bytes_differ(folder: Path, processes: int) -> list[str]:
    """Edits whose files differ between processes, numbers of threads, of workers and of CPUs."""
    write_inputs(folder)
    results = []
    for threads, workers, cpus in SETTINGS[:processes]:
        command = [sys.executable, "-m", "tests.trust.repeats", "--digests", str(folder)]
        command += ["--workers", str(workers or 0), "--cpus", str(cpus)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(threads)}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        results.append(json.loads(run.stdout))
    return [
        f"{name}: the bytes depend on {setting} (threads, workers, CPUs)"
        for setting, result in zip(SETTINGS, results, strict=False)
        for name in EDITS
        if result[name] != results[0][name]
    ]


# What other processors do, as far as this one can be told to do it.
PROCESSORS = {
    "MKL_CBWR": "COMPATIBLE",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "default",
}


def other_processors(folder: Path) -> dict[str, dict[str, float]]:
    """{a setting: {an edit whose bytes it changes: how far its updates are from what they were}}.

    The distance is the largest of all modules, relative to the update's size.
    """
    write_inputs(folder)

    def updates(name: str, more: dict[str, str]) -> dict[str, dict[str, torch.Tensor]]:
        (out := folder / name).mkdir()
        command = [sys.executable, "-m", "tests.trust.repeats", "--kept", str(out), str(folder)]
        subprocess.run(command, env=os.environ | more, capture_output=True, check=True)
        return {path.stem: load_file(path) for path in sorted(out.iterdir())}

    here = updates("here", {})
    found: dict[str, dict[str, float]] = {}
    for name, value in PROCESSORS.items():
        there = updates(name, {name: value})
        found[f"{name}={value}"] = {
            edit: max(
                error(dense(there[edit])[raw], exact) for raw, exact in dense(here[edit]).items()
            )
            for edit in here
            if not same_bits(here[edit], there[edit])
        }
    return found


def resources() -> dict[str, int]:
    """Memory in kB, open files, mapped LoRA files and threads of this process."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    files = len(os.listdir("/proc/self/fd"))
    maps = Path("/proc/self/maps").read_text().count(".safetensors")
    threads = threading.active_count()
    return {"kB": int(memory.split()[1]), "files": files, "maps": maps, "threads": threads}


def left_behind(folder: Path, runs: int) -> tuple[list[str], dict[str, object]]:
    """(what many runs leave, the growth of each resource and the time of early and late runs)."""
    write_inputs(folder)
    paths = [folder / "a.safetensors", folder / "b.safetensors"]
    dicts = [load_file(path) for path in paths]
    before: dict[str, int] = {}
    seconds = []
    for run in range(runs):
        if run == max(1, runs // 10):
            before = resources()
        begun = time.process_time()
        for edit in EDITS.values():
            sources = paths if run % 2 else dicts
            edit(*sources, Output(folder / "out.safetensors" if run % 4 < 2 else None), Compute())
        analyze_lora(paths[0])
        verify(paths[0], [paths[0]], [1.0])
        seconds.append(time.process_time() - begun)
    growth = {name: size - before[name] for name, size in resources().items()}
    problems = [
        f"{name}: {growth[name]} more after {runs} runs"
        for name in ("files", "maps", "threads")
        if growth[name] > 0
    ]
    # The allocator keeps some pages; a leaked file or state dict would be 100 kB a run.
    if growth["kB"] > 20_000:
        problems.append(f"memory: {growth['kB']} kB more after {runs} runs")
    known = {f"{name}.safetensors" for name in ("a", "b", "out")}
    if left := {path.name for path in folder.iterdir()} - known:
        problems.append(f"files stay: {sorted(left)}")
    tenth = max(1, runs // 10)
    # The first run loads what is loaded on first use.
    early, late = median(seconds[1 : 1 + tenth]), median(seconds[-tenth:])
    return problems, {"growth": growth, "early_s": round(early, 3), "late_s": round(late, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--processes", type=int, default=len(SETTINGS))
    parser.add_argument("--digests", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--processors", action="store_true", help="measure what they change")
    parser.add_argument("--kept", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--cpus", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cpus])
    if options.kept:
        out, inputs = options.kept
        for name, edit in EDITS.items():
            paths = inputs / "a.safetensors", inputs / "b.safetensors"
            edit(*paths, Output(out / f"{name}.safetensors"), Compute())
        return 0
    if options.processors:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(other_processors(Path(folder)), indent=1))
        return 0
    if options.digests:
        print(json.dumps(digests(options.digests, options.workers or None)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        problems, figures = left_behind(Path(folder), options.runs)
        problems += bytes_differ(Path(folder), options.processes)
    print("\n".join(problems), file=sys.stderr)
    print(json.dumps({"runs": options.runs, "processes": options.processes, **figures}))
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
