"""`python -m benchmarks`: the table of what LoRA Alloy takes, beside what it cannot get under."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from .rows import Row, Workshop, all_rows

SMALL = "double_blocks.0.*,single_blocks.0.*,transformer_blocks.0.*"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", help="which rows (default: all)")
    parser.add_argument("--repeats", type=int, default=5, help="of each measure (default 5)")
    parser.add_argument("--small", action="store_true", help="one block only: checks, not figures")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--folder", help="keeps the generated files (several GB) for the next run")
    parser.add_argument("--json", action="store_true", help="print the figures for machines")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        shop = Workshop(folder, options.repeats, SMALL if options.small else None, options.device)
        known = all_rows(shop)
        unknown = sorted(set(options.rows) - set(known))
        if unknown:
            parser.error(f"no row {', '.join(unknown)}; rows: {', '.join(known)}")
        rows = []
        for name in options.rows or known:
            for row in known[name]():
                rows.append(row)
                print(line(row), file=sys.stderr if options.json else sys.stdout, flush=True)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": options.device,
    }
    if options.json:
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print(", ".join(f"{key} {value}" for key, value in machine.items()))
    return 0


def line(row: Row) -> str:
    limit = "" if row.limit is None else f"limit {row.limit:g}"
    verdict = {True: "reached", False: "MISSED", None: ""}[row.reached]
    details = ", ".join(f"{key} {value:.3g}" for key, value in row.details.items())
    return f"{row.name:<62} {row.figure:>9.3g} {row.unit:<12} {limit:<10} {verdict:<8} {details}"


if __name__ == "__main__":
    raise SystemExit(main())
