"""What is done with a hostile file, and what has to hold of each result.

A `Wrong` says what does not; `readers.check` counts it, as it counts every other exception.
"""

import contextlib
import csv
import io
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

from core import (
    CHARTS,
    METHODS,
    TRAINERS,
    Blend,
    Compute,
    Edited,
    Even,
    Lora,
    LoraError,
    Output,
    RankRule,
    Reading,
    analyze_lora,
    blend,
    chart,
    choose_blocks,
    compare,
    convert,
    csv_text,
    resize,
    save,
    select,
    to_png,
    top_blocks,
    trainer_config,
    verify,
)
from core.cli.main import main
from tests import helpers

QUIET = Compute(workers=1)
BY_PCA, TO_SIZE = Blend((2.0,), 2, truncation="pca"), RankRule("megabytes", 0.002)
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NUMBER = re.compile(r"-?[\d.e+-]*|-?inf|nan")


class Wrong(Exception):
    pass


def numbers(weight: float, edit: Callable[[Path], Edited]) -> Callable[[Path, Path], None]:
    """The edit, held against the dense float64 oracle: the error is the one that is reported.

    `edit` keeps the names of the modules and is to make `weight` times the file.
    """

    def check(path: Path, other: Path) -> None:
        edited = edit(path)
        rows = {row.module: row for row in edited.report.kept}
        source, result = Lora(path), Lora(edited.lora)
        for name, module in result.modules.items():
            before, row = source.modules.get(name), rows.get(name)
            if before is None or row is None or module.adapter.kind.update is None:
                continue
            pair = [list(helpers.dense(m.stored).values()) for m in (before, module)]
            if [len(one) for one in pair] != [1, 1]:
                continue  # Keys that only we read.
            exact, after = (one[0] for one in pair)
            # Squares of what is beyond these sizes say nothing in float64.
            unit = float(exact.abs().max()) if exact.numel() else 0.0
            if not 1e-100 < unit < 1e100:
                continue
            found = helpers.error(after / unit, exact / unit * weight)
            if not found <= 1.05 * row.relative_error + 1e-4:
                raise Wrong(f"{name} is off by {found:.3g}, reported {row.relative_error:.3g}")

    return check


def quoted(text: str) -> None:
    """Markdown without markup, tables or control characters of a file's own."""
    bare = re.sub(r"\\.", "", text)
    table = {line.count("|") for line in bare.splitlines() if line.startswith("|")}
    if re.search(r"!\[|\]\(|[<>`]|://|\[\[", bare) or UNSEEN.search(text) or len(table) > 1:
        raise Wrong(f"the Markdown has markup of the file: {text!a}")


def no_formula(text: str) -> None:
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    if found := [c for c in cells if re.match(r"\s*[=+@-]", c) and not NUMBER.fullmatch(c)]:
        raise Wrong(f"a cell is a formula: {found[0]!a}")


def said(*arguments: str) -> None:
    """What the command prints, on both streams: one line for an error, nothing to obey."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(arguments))
    if status not in (0, 1) or (status == 1) != (len(err.getvalue().splitlines()) == 1):
        raise Wrong(f"status {status} and {err.getvalue()!a}")
    for text in (out.getvalue(), err.getvalue()):
        if UNSEEN.search(text):
            raise Wrong(f"a terminal obeys {text!a}")


def pictures(path: Path) -> None:
    table = analyze_lora(path, compute=QUIET)
    for name in CHARTS:
        with contextlib.suppress(LoraError):
            to_png(chart(table, name))


def trainers(path: Path) -> None:
    lora = Lora(path)
    blocks = choose_blocks(lora, compute=QUIET).blocks
    for trainer in TRAINERS:
        with contextlib.suppress(LoraError):  # Not every trainer knows every model.
            if UNSEEN.search(text := trainer_config(trainer, lora, list(blocks))):
                raise Wrong(f"{trainer}: {text!a}")


def plain_json(value: object) -> None:
    json.dumps(value, allow_nan=False)


_METHODS = itertools.cycle(METHODS)


def merged(path: Path, other: Path) -> None:
    for method in itertools.islice(_METHODS, 3):
        blend([path, other], settings=Blend((0.5, -1.0), 2, method), compute=QUIET)


ACTIONS: dict[str, Callable[[Path, Path], object]] = {
    "blend": lambda path, other: blend(path, other, Blend((0.5, -1.0), 2), compute=QUIET),
    "blend exactly": lambda path, other: blend(other, path, Blend(rank="full"), compute=QUIET),
    "blend one": lambda path, other: blend(path, None, Blend((0.5,), 3), compute=QUIET),
    "blend by pca": lambda path, other: blend(path, None, BY_PCA, compute=QUIET),
    "blend evenly": lambda path, other: blend(
        [path, other, path], settings=Blend(balance=Even(whole_file=True)), compute=QUIET
    ),
    "merge": merged,
    "resize": lambda path, other: resize(path, RankRule("rank", 2), compute=QUIET),
    "resize by energy": lambda path, other: resize(path, RankRule("energy", 0.9), compute=QUIET),
    "resize to a size": lambda path, other: resize(path, TO_SIZE, compute=QUIET),
    "resize at the knee": lambda path, other: resize(
        path, RankRule("knee", 0.0), output=Output(dtype="fp16"), compute=QUIET
    ),
    "select": lambda path, other: select(path, "*", rest=None, compute=QUIET),
    "select blocks": lambda path, other: select(
        path, "*blocks*", Output(dtype="bf16"), rest=Output(), compute=QUIET
    ),
    "to kohya": lambda path, other: convert(path, Output(spelling="kohya"), compute=QUIET),
    "to diffusers": lambda path, other: convert(path, Output(spelling="diffusers"), compute=QUIET),
    "to generic": lambda path, other: convert(path, Output(None, "fp16", "generic"), compute=QUIET),
    "as JSON": lambda path, other: plain_json(
        resize(path, RankRule("sv_ratio", float("inf")), compute=QUIET).report.as_dict()
    ),
    "into a file": lambda path, other: Lora(
        convert(path, Output(path.with_name("out.safetensors")), compute=QUIET).lora
    ),
    "saved": lambda path, other: Lora(save(path, path.with_name("out.safetensors"), "bf16")),
    "analyze": lambda path, other: analyze_lora(path, compute=QUIET, return_df=False),
    "top blocks": lambda path, other: top_blocks(path, choose_blocks(path, compute=QUIET)),
    "verify": lambda path, other: verify(path, [path, other], [1.0, 0.0], compute=QUIET),
    "compare": lambda path, other: compare([path, other], compute=QUIET),
    "as diffusers reads": lambda path, other: resize(
        Lora(path, reading=Reading(True, True)), RankRule("rank", 2), compute=QUIET
    ),
    # What is computed is true, and so is what is said of it.
    "half of it": numbers(-0.5, lambda path: blend([path], settings=Blend((-0.5,)), compute=QUIET)),
    "a multiple": numbers(0.3, lambda path: blend(
        [path], settings=Blend((0.3,), "full"), output=Output(dtype="fp32"), compute=QUIET
    )),
    "in bf16": numbers(1.0, lambda path: convert(path, Output(dtype="bf16"), QUIET)),
    "in fp16": numbers(1.0, lambda path: convert(path, Output(dtype="fp16"), QUIET)),
    "cut": numbers(1.0, lambda path: resize(
        path, RankRule("energy", 0.99), output=Output(dtype="fp32"), compute=QUIET
    )),
    # What is shown is quoted for where it is shown.
    "as Markdown": lambda path, other: quoted(
        resize(path, RankRule("rank", 1), compute=QUIET).report.markdown(999)
    ),
    "as a table": lambda path, other: no_formula(csv_text(analyze_lora(path, compute=QUIET))),
    "as pictures": lambda path, other: pictures(path),
    "as settings": lambda path, other: trainers(path),
    "info": lambda path, other: said("info", str(path), "--names"),
    "recipe": lambda path, other: said("recipe", str(path)),
    "metadata": lambda path, other: said("metadata", str(path)),
    "preview": lambda path, other: said("resize", str(path), "--rank", "1", "--preview"),
}  # fmt: skip
