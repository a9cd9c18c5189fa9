"""The command info."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...insight.info import blocks_of, describe, overview, summary
from ...reading.lora import Lora
from ...running.report import megabytes
from ..inputs import files_argument, run_options
from ..many import Done, Outcome, each, told
from ..options import json_option, opened, reading_options
from ..parser import Parser
from ..printing import LOOK, line, print_json, say, table
from ..where import chosen, conditions, in_order

EXAMPLES = """
    # what is in a file
    lora-alloy info style.safetensors
    # every module by name, for --layers
    lora-alloy info style.safetensors --names
    # a folder as a table
    lora-alloy info loras/ --sort bytes
    lora-alloy info loras/ --where "family=Flux and rank>4"
    # for scripts: an object a line
    lora-alloy info loras/ --json
"""


def options(parser: Parser) -> None:
    files_argument(parser)
    parser.add_argument("--names", action="store_true", help="list every module")
    parser.add_argument("--blocks", action="store_true", help="what each block holds")
    group = parser.add_argument_group("several files")
    group.add_argument(
        "--where",
        type=conditions,
        default=[],
        metavar="CONDITION",
        help="only files that meet it, such as 'family=Flux and rank>32', 'bytes>40MB', "
        "'trigger_words=*cat*'",
    )
    group.add_argument(
        "--sort", metavar="COLUMN", help="any column of --json; numbers from the largest on"
    )
    run_options(group)
    reading_options(parser)
    json_option(parser)


def run(options: argparse.Namespace) -> int:
    return each(options, _info, closing=_folder, held=bool(options.where or options.sort))


def _info(options: argparse.Namespace) -> Done:
    lora = opened(options.lora, options)

    def shown() -> None:
        facts = [fact.partition(": ") for fact in summary(lora)]
        table(("", ""), [(label + ":", text) for label, _, text in facts])
        if options.blocks:
            _blocks(lora)
        if options.names:
            _names(lora)

    return Done(describe(lora), shown, overview(lora))


def _names(lora: Lora) -> None:
    line()
    rows = (
        (
            module.canonical,
            module.rank or "-",
            f"{module.out_features} x {module.in_features}",
            module.raw,
        )
        for module in lora.modules.values()
    )
    table(("module", ">rank", ">size", "in the file"), rows)


def _blocks(lora: Lora) -> None:
    line()
    found = blocks_of(lora)
    most = max((size for _, _, _, size in found), default=1)
    rows = [
        (block, count, ranks, megabytes(size), size / most) for block, count, ranks, size in found
    ]
    table(("block", ">modules", ">rank", ">size", ""), rows)


def _folder(options: argparse.Namespace, outcomes: Sequence[Outcome]) -> None:
    """A row for each file."""
    rows: list[Any] = [outcome.done.row for outcome in outcomes if outcome.done]
    rows = in_order(chosen(rows, options.where), options.sort)
    if options.json:
        of = {id(outcome.done.row): outcome for outcome in outcomes if outcome.done}
        for outcome in [*(of[id(row)] for row in rows), *(o for o in outcomes if o.error)]:
            print_json(told(outcome), options, one_line=True)
        return
    table(
        ("file", "family", "kind", ">rank", ">modules", ">size", "trigger words", "made by"),
        [
            (
                row["file"],
                row["family"] + "?" * (row["confidence"] in ("likely", "possible")),
                row["kind"],
                row["rank"] or "-",
                row["modules"],
                megabytes(row["bytes"]),
                ", ".join(row["trigger_words"]),
                row["made_by"],
            )
            for row in rows
        ],
    )
    LOOK.errors([str(outcome.error) for outcome in outcomes if outcome.error])
    size = megabytes(sum(row["bytes"] for row in rows))
    families = Counter(row["family"] for row in rows)
    said = ", ".join(f"{count} {family}" for family, count in families.most_common())
    failed = sum(outcome.error is not None for outcome in outcomes)
    say([f"{len(rows)} files, {size}: {said}" + f"; {failed} that cannot be read" * bool(failed)])
