"""A command on many files: one after another or several at once, and what became of each."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from ..errors import LoraError
from ..running.report import Report, megabytes
from ..running.threads import enough_memory
from .computing import progress_bar
from .inputs import Job, is_template, jobs, make_folders
from .outputs import claim
from .printing import LOOK, print_json, say, show, table


@dataclass
class Done:
    """What a command did to a file: for --json, for a person, and a row of the closing table."""

    told: Mapping[Any, Any]
    show: Callable[[], None]
    row: Mapping[str, Any] = field(default_factory=dict)
    # Raises LoraError where the file is not what it should be: after it was shown, status 1.
    check: Callable[[], None] = lambda: None


@dataclass
class Outcome:
    """What became of one of many files."""

    job: Job
    done: Done | None = None
    error: LoraError | None = None
    skipped: bool = False
    seconds: float = 0.0

    @property
    def text(self) -> str:
        if self.error:
            return f"failed: {self.error.problem}"
        return "there already" if self.skipped else "done" if self.done else "not begun"


Do = Callable[[argparse.Namespace], Done]
NOTHING: Mapping[str, Sequence[str]] = {}


def each(
    options: argparse.Namespace,
    do: Do,
    outputs: Mapping[str, Sequence[str]] = NOTHING,
    closing: Callable[[argparse.Namespace, Sequence[Outcome]], None] | None = None,
    given: Sequence[str] | None = None,
    held: bool = False,
    work: Sequence[Job] | None = None,
) -> int:
    """Do it to every file that is given. Returns the exit status.

    `outputs` are the options that name files to write, with their endings. One file is done as
    if there were no others; of several `closing` shows the account, a table by default. JSON is
    printed file after file, unless it is `held` for `closing` to print.
    """
    given = options.loras if given is None else given
    work = jobs(options, outputs, given) if work is None else work
    if getattr(options, "dry_run", False):
        _foresee(work, options)
        return 0
    left, there = _begun(options, work, outputs, given)
    one = len(work) == 1 and not any(map(os.path.isdir, given))
    if one and left and not held:
        done = do(left[0].options(options))
        return _alone(options, left[0], done)
    outcomes = [*there, *_run(options, do, left, held)]
    outcomes.sort(key=lambda outcome: outcome.job.number)
    if held or not options.json:
        (closing or _close)(options, outcomes)
    return int(any(outcome.error for outcome in outcomes))


def _alone(options: argparse.Namespace, job: Job, done: Done) -> int:
    outcome = Outcome(job, done)
    try:
        done.check()
    except LoraError as error:
        outcome.error = error.at(file=job.path)
    if options.json:
        print_json(_reported(outcome), options)
    else:
        done.show()
    if outcome.error:
        sys.stdout.flush()
        LOOK.errors([str(outcome.error)])
    return int(outcome.error is not None)


def _begun(
    options: argparse.Namespace,
    work: Sequence[Job],
    outputs: Mapping[str, Sequence[str]],
    given: Sequence[str],
) -> tuple[list[Job], list[Outcome]]:
    """(what is to be done, what is there already), every output made sure of."""
    skip = getattr(options, "skip_existing", False)
    there = [job for job in work if skip and job.files and all(map(os.path.lexists, job.files))]
    left = [job for job in work if job not in there]
    paths = [(job.outputs[name], endings) for job in left for name, endings in outputs.items()]
    for name in outputs:
        if is_template(getattr(options, name)):
            make_folders([path for job in left if (path := job.outputs[name])])
    claim(options, [*given, *(job.path for job in work)], *((p, tuple(e)) for p, e in paths))
    return left, [Outcome(job, skipped=True) for job in there]


def _run(options: argparse.Namespace, do: Do, work: Sequence[Job], held: bool) -> Iterator[Outcome]:
    """The outcome of each as soon as it is known; with --no-continue up to the first error."""
    sizes = {job.path: _size(job.path) for job in work}
    stop = Event()
    count = max(1, min(options.jobs, len(work)))
    with progress_bar() as bar:
        task = bar.add_task(f"{len(work)} files", total=sum(sizes.values()))

        def one(job: Job) -> Outcome:
            own, seen = job.options(options), 0.0

            def watch(done: int, total: int, name: str) -> None:
                nonlocal seen
                share = sizes[job.path] * done / max(total, 1)
                bar.update(task, advance=share - seen, description=os.path.basename(job.path))
                seen = share

            own.watch, own.cancelled = watch, stop.is_set
            own.workers = max(1, (os.cpu_count() or 1) // count) if count > 1 else None
            began, outcome = time.perf_counter(), Outcome(job)
            try:
                with enough_memory():
                    outcome.done = do(own)
                    outcome.done.check()
            except LoraError as error:
                outcome.error = error.at(file=job.path)
            outcome.seconds = time.perf_counter() - began
            bar.update(task, advance=sizes[job.path] - seen)
            if options.json and not held and (outcome.error or outcome.done):
                print_json(told(outcome), options, one_line=True)
            return outcome

        with ThreadPoolExecutor(count) as pool:
            futures: list[Future[Outcome]] = [pool.submit(one, job) for job in work]
            try:
                for future in futures:
                    outcome = future.result()
                    yield outcome
                    if outcome.error and not options.go_on:
                        for later in futures:
                            later.cancel()
                        break
            except BaseException:
                stop.set()
                for future in futures:
                    future.cancel()
                raise
        for future, job in zip(futures, work, strict=True):
            if future.cancelled():
                yield Outcome(job)


def told(outcome: Outcome) -> dict[str, Any]:
    where = {"file": outcome.job.path, "seconds": round(outcome.seconds, 3)}
    return where | _reported(outcome)


def _reported(outcome: Outcome) -> dict[Any, Any]:
    found = dict(outcome.done.told) if outcome.done else {}
    return found | ({"error": outcome.error.told()} if outcome.error else {})


def _size(path: str) -> int:
    with contextlib.suppress(OSError):
        return os.path.getsize(path)
    return 0


def _foresee(work: Sequence[Job], options: argparse.Namespace) -> None:
    rows = []
    for job in work:
        for path in job.files or ["-"]:
            there = os.path.lexists(path)
            skip = getattr(options, "skip_existing", False)
            fate = ("skipped" if skip else "there already") if there else "new"
            rows.append((job.path, path, fate))
    if options.json:
        files = [dict(zip(("file", "output", "state"), row, strict=True)) for row in rows]
        print_json({"files": files}, options)
    else:
        table(("file", "output", "state"), rows)
        say(["nothing was written: --dry-run"])


def _close(options: argparse.Namespace, outcomes: Sequence[Outcome]) -> None:
    """What became of each, and of all."""
    headings = list(dict.fromkeys(name for o in outcomes if o.done for name in o.done.row))
    rows = []
    for outcome in outcomes:
        row = outcome.done.row if outcome.done else {}
        cells = [row.get(heading, "") for heading in headings]
        rows.append((os.path.basename(outcome.job.path), *cells, outcome.text))
    table(("file", *headings, "what became of it"), rows)
    failed = [outcome for outcome in outcomes if outcome.error]
    LOOK.errors([str(outcome.error) for outcome in failed])
    say([summary_of(outcomes)])


def summary_of(outcomes: Sequence[Outcome]) -> str:
    counts = {
        "done": sum(o.done is not None and o.error is None for o in outcomes),
        "there already": sum(o.skipped for o in outcomes),
        "failed": sum(o.error is not None for o in outcomes),
    }
    counts["not begun"] = len(outcomes) - sum(counts.values())
    said = [f"{number} {what}" for what, number in counts.items() if number]
    return f"{len(outcomes)} files: {', '.join(said)}"


def edits(options: argparse.Namespace, reports: Mapping[str, Report]) -> Done:
    """The account of the files that were written, by what they are called in JSON."""
    told = (
        {name: report.as_dict() for name, report in reports.items()}
        if len(reports) > 1 or "output" not in reports
        else reports["output"].as_dict()
    )
    first = next(iter(reports.values()))
    lost = max(first.modules, key=lambda row: row.relative_error, default=None)
    row = {
        ">before": megabytes(sum(entry["bytes"] for entry in first.inputs)),
        ">after": megabytes(first.output_bytes),
        ">rank": first.rank_summary(),
        ">error": f"{first.relative_error:.3g}",
        ">kept": f"{first.retained_energy:.2%}",
        "lost most": lost.module if lost and lost.relative_error > 0 else "-",
    }

    def shown() -> None:
        for report in reports.values():
            show(report, options, every_row=getattr(options, "preview", False) or LOOK.verbose)

    return Done(told, shown, row)
