"""What files say is shown and never obeyed: in a terminal, a table, Markdown, a page, a chart."""

import csv
import io
import re
import threading

import matplotlib
import pytest
from markdown_it import MarkdownIt

from core import (
    CHARTS,
    Output,
    StateDict,
    analyze_lora,
    blend,
    chart,
    convert,
    csv_text,
    quoting,
    save_chart,
    to_png,
)
from core.cli.main import main
from tests.helpers import lora, save
from tests.trust.hostile import INJECTIONS


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_each_place_has_its_quoting(text):
    for quote in (quoting.terminal, quoting.markdown, quoting.chart):
        assert not re.search(
            "[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", quote(text)
        )
    assert not quoting.csv(text).lstrip().startswith(("=", "+", "-", "@"))
    shown = re.sub(r"\\.", "", quoting.markdown(text))
    assert not set(shown) & set("[]<>|`*~") and "://" not in shown


STARTS = [
    "# x",
    "###### x",
    "- x",
    "+ x",
    "1. x",
    "12) x",
    "= x",
    "    x",
    "> x",
    "* x",
    "2.5",
]
INSIDE = [
    "__x__",
    "_x_",
    "a_b_c",
    "&lt;img&gt;",
    "&#60;",
    "a & b",
    "x@y.zz",
    "~~x~~",
    "**x**",
    "$x$",
]


@pytest.mark.parametrize("text", [*INJECTIONS, *STARTS, *INSIDE], ids=ascii)
def test_a_markdown_viewer_shows_what_was_quoted_and_nothing_else(text):
    viewer = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for start in ("* ", "## ", "| a | b |\n| - | - |\n| c | "):
        tokens = viewer.parse(start + quoting.markdown(text) + (" |" if start[0] == "|" else ""))
        inline = [token for token in tokens if token.type == "inline"][-1]
        assert {child.type for child in inline.children} <= {"text"}
        assert inline.children[0].content.strip() == quoting.terminal(text).strip()
        blocks = {"heading_open", "list_item_open", "code_block", "blockquote_open"}
        assert sum(token.type in blocks for token in tokens) == (start[0] != "|")
        assert not re.search(r"(?<!\\)(@|://)|www\.", quoting.markdown(text))


def test_plain_names_are_shown_as_they_are():
    name = "double_blocks.0.img_attn.qkv (\u5c42), 12 % & more: 1.5"
    for quote in (quoting.terminal, quoting.csv, quoting.markdown, quoting.chart):
        assert quote(name) == name


def hostile_lora() -> StateDict:
    tensors = {}
    for number, text in enumerate(INJECTIONS):
        text = text.encode("utf-8", "replace").decode()
        tensors |= lora(f"{text}.blocks.{number}.attn", seed=number)
        tensors |= lora(f"blocks.{number}.{text}", seed=number)
    return StateDict(tensors, {"modelspec.title": "".join(INJECTIONS[:4]), "ss_output_name": "\r"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    found = hostile_lora()
    save(found, tmp_path / "a.safetensors", found.metadata)
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = [
    "info a.safetensors --names", "analyze a.safetensors --csv a.csv", "top-blocks a.safetensors",
    "resize a.safetensors --preview --rank 1", "info \x1b[31m", "convert a.safetensors -o \x1b.x",
    "verify a.safetensors --inputs a.safetensors", "top-blocks a.safetensors --trainer peft",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
def test_no_command_prints_what_a_terminal_obeys(folder, capsys, command):
    main(command.split(" "))
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


@pytest.mark.slow
def test_no_cell_of_a_table_is_a_formula():
    rows = list(csv.reader(io.StringIO(csv_text(analyze_lora(hostile_lora())))))
    texts = [
        cell for row in rows for cell in row if not re.fullmatch(r"-?[\d.e+-]*|-?inf|nan", cell)
    ]
    assert len(rows) > 10 and not [t for t in texts if t.lstrip().startswith(("=", "+", "-", "@"))]


def test_reports_in_markdown_hold_no_markup_of_a_file():
    report = convert(hostile_lora(), Output(dtype="fp16")).report.markdown(1000)
    bare = re.sub(r"\\.", "", report)
    assert "![" not in bare and "](" not in bare and "<img" not in bare and "://" not in bare
    table = [line for line in bare.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_can_be_drawn_of_every_name(tmp_path, name):
    table = analyze_lora(hostile_lora())
    figure = chart(table, name)
    assert to_png(figure)
    text = save_chart(figure, tmp_path / "a.svg").read_text("utf-8")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)


@pytest.mark.slow
def test_charts_in_threads_leave_the_settings_alone():
    table = analyze_lora(lora("blocks.0.attn") | lora("blocks.1.attn"))
    chart(table, "blocks")
    before, pictures = dict(matplotlib.rcParams), []

    def draw():
        pictures.append(to_png(chart(table, "blocks")))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict(matplotlib.rcParams) == before and len(set(pictures)) == 1


def test_errors_are_quoted_too():
    with pytest.raises(ValueError) as caught:
        blend({"\x1b[2J\r.lora_A.weight": lora("x")["x.lora_A.weight"]}, None)
    assert "\x1b" not in str(caught.value) and "\\x1b[2J" in str(caught.value)
