"""The pack's own side of the page, used by mouse and keyboard in both renderers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.edits.block_weights import from_files
from tests.comfyui import models
from tests.comfyui.alloy import save
from tests.comfyui.browser import Page
from tests.comfyui.conftest import PACK
from tests.comfyui.harness import ComfyUIError, Server
from tests.comfyui.loras import random_lora

RENDERERS = {"classic": False, "nodes 2.0": True}
ODD = "<img src=x onerror=window.hacked=1>"

# Nodes by their kind, wires as [from, its output, to, its input], widgets by node.
BUILD = """([kinds, wires, widgets]) => {
    const nodes = kinds.map(([kind, x, y]) => {
        const node = window.LiteGraph.createNode(kind);
        app.graph.add(node);
        node.pos = [x, y];
        return node;
    });
    widgets.forEach((values, index) => Object.entries(values).forEach(([name, value]) => {
        const widget = nodes[index].widgets.find(one => one.name === name);
        widget.value = value;
        widget.callback?.(value, app.canvas, nodes[index]);
    }));
    for (const [from, output, to, input] of wires) nodes[from].connect(output, nodes[to], input);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [60, 20];
    app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState();
    return nodes.map(node => node.id);
}"""
VALUE = """([id, name]) => app.graph.getNodeById(id).widgets.find(one => one.name === name).value"""


PRESETS = """async text => {
    const presets = await import("/extensions/lora-alloy/presets.js");
    localStorage.removeItem("lora-alloy.presets");
    presets.keep("soft", text);
    presets.keep("hard", "single_blocks: 0");
    const file = presets.asFile();
    localStorage.removeItem("lora-alloy.presets");
    return [file, presets.fromFile(file), presets.presets()];
}"""
INTO_SUBGRAPH = """id => {
    const {subgraph} = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]));
    app.canvas.setGraph(subgraph);
}"""


class Graph:
    """Nodes on the page, and what is on them."""

    def __init__(self, page: Page, kinds: list[Any], wires: list[Any], widgets: list[Any]) -> None:
        self.page = page
        page.load({"nodes": [], "links": [], "version": 0.4, "extra": {}})
        self.ids = page.evaluate(BUILD, [kinds, wires, widgets])
        self.settle()

    def settle(self) -> None:
        """What the server is asked for has come and is shown."""
        self.page.view.wait_for_timeout(300)
        self.page.view.wait_for_load_state("networkidle")
        self.page.view.wait_for_timeout(300)

    def value(self, node: int, name: str) -> Any:
        return self.page.evaluate(VALUE, [self.ids[node], name])

    def find(self, selector: str) -> Any:
        return self.page.view.locator(selector)


@pytest.fixture(params=list(RENDERERS))
def view(page: Page, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page with one of its renderers; nothing in a test may end up in its console."""
    page.setting("Comfy.VueNodes.Enabled", RENDERERS[request.param])
    page.view.wait_for_timeout(300)
    page.errors.clear()
    yield page
    page.setting("Comfy.VueNodes.Enabled", False)


def blocks_graph(page: Page, name: str, text: str = "") -> Graph:
    """Load LoRA for Editing -> LoRA Blocks -> Save LoRA."""
    kinds = [["LoraAlloyLoad", 0, 60], ["LoraAlloyBlocks", 420, 60], ["LoraAlloySave", 900, 60]]
    wires = [[0, 0, 1, 0], [1, 0, 2, 0]]
    return Graph(page, kinds, wires, [{"lora_name": name}, {"block_weights": text}, {}])


@pytest.fixture(scope="session")
def flux(comfyui: Server) -> str:
    """A LoRA with 4 double and 6 single blocks."""
    lora = random_lora(models.flux(), "kohya", seed=3)
    words = {"modelspec.trigger_phrase": f"ohwx, {ODD}", "modelspec.title": "**A** title"}
    return save(comfyui, "page-flux", lora, **words)


def test_a_chosen_file_is_shown_at_once(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux)
    card = graph.find(".alloy-card").inner_text()
    for words in ("**A** title", "Flux (certain", "58, ", "LoRA", "float32", "double_blocks: 4"):
        assert words in card
    assert graph.find(".alloy-words button").all_inner_texts() == ["ohwx", ODD]
    assert graph.find(".alloy-bars i").count() == 4 + 6
    assert "parameters" in graph.find(".alloy-bars i").first.get_attribute("title")
    assert graph.find(".alloy-card img").count() == 0
    assert view.evaluate("window.hacked") is None and view.errors == []


def test_a_file_with_any_name_is_text(view: Page, comfyui: Server) -> None:
    lora = random_lora(models.flux(), "kohya", only="single_blocks.0.*")
    name = save(comfyui, ODD.replace("/", ""), lora)
    graph = blocks_graph(view, name, "nothing: 1")
    assert name in graph.find(".alloy-panel .alloy-error").inner_text()
    assert view.evaluate("window.hacked") is None and view.errors == []


def test_sliders_write_the_text_and_the_text_moves_the_sliders(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux)
    mouse, tracks = view.view.mouse, graph.find(".alloy-body .alloy-track")
    first, last = tracks.nth(1).bounding_box(), tracks.nth(3).bounding_box()
    x = first["x"] + 0.625 * first["width"]  # 0.5 between -2 and 2
    mouse.move(x, first["y"] + 6)
    mouse.down()
    mouse.move(x, last["y"] + 6, steps=12)
    mouse.up()
    assert graph.value(1, "block_weights") == "double_blocks.1-3: 0.5"
    tracks.nth(2).focus()
    view.view.keyboard.press("ArrowRight")
    tracks.nth(4).focus()
    view.view.keyboard.press("End")
    text = "double_blocks.1: 0.5\ndouble_blocks.2: 0.55\ndouble_blocks.3: 0.5\nsingle_blocks.0: 2"
    assert graph.value(1, "block_weights") == text
    graph.settle()

    area = next(one for one in graph.find("textarea").all() if one.input_value() == text)
    area.fill("*mlp*: 0.25\ndouble_blocks.0: -1")
    graph.settle()
    numbers = graph.find(".alloy-body .alloy-row > .alloy-number")
    assert numbers.nth(0).input_value() == "-1"
    assert numbers.nth(1).get_attribute("placeholder") == "mixed"
    # What the panel could not have written stays as it stands.
    numbers.nth(5).fill("1.5")
    numbers.nth(5).press("Enter")
    written = "*mlp*: 0.25\ndouble_blocks.0: -1\nsingle_blocks.1: 1.5"
    assert graph.value(1, "block_weights") == written
    assert view.errors == []


def test_rows_can_be_muted_heard_alone_and_turned(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux, "double_blocks.1: 0.5")
    graph.settle()
    row = graph.find(".alloy-body .alloy-row").nth(1)

    def press(label: str) -> str:
        row.get_by_role("button", name=label, exact=True).click()
        graph.settle()
        return graph.value(1, "block_weights")

    assert press("M") == "double_blocks.1: 0"
    assert press("M") == "double_blocks.1: 0.5"
    alone = graph.value(1, "block_weights")
    assert "double_blocks.0: 0" in press("S") and "double_blocks.1" in alone
    assert press("S") == "double_blocks.1: 0.5"
    assert press("\u00b1") == "double_blocks.1: -0.5"
    graph.find(".alloy-tools").get_by_text("Reset").click()
    assert graph.value(1, "block_weights") == "" and view.errors == []


def test_undo_and_redo_take_single_steps(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux)
    tracks, texts = graph.find(".alloy-body .alloy-track"), [""]
    for index in range(3):
        tracks.nth(index).focus()
        view.view.keyboard.press("Home")
        graph.settle()
        texts.append(graph.value(1, "block_weights"))
    assert len(set(texts)) == 4
    view.view.mouse.click(1300, 800)
    for key, wanted in (("z", texts[2]), ("z", texts[1]), ("y", texts[2]), ("y", texts[3])):
        view.view.keyboard.press(f"Control+{key}")
        graph.settle()
        assert graph.value(1, "block_weights") == wanted
        shown = graph.find(".alloy-body .alloy-track").nth(2).get_attribute("aria-valuenow")
        assert shown == ("-2" if wanted == texts[3] else "1")
    assert view.errors == []


def test_status_and_errors_are_on_the_node(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux, "double_blocks.0: 0.5")
    view.run()
    graph.settle()
    lines = graph.find(".alloy-status").all_inner_texts()
    assert any(re.match(r"58 modules, rank 4\n\d\.\d MB\nrelative error", text) for text in lines)
    assert any(text.startswith("saved as alloy_") for text in lines)

    view.evaluate(
        """id => { const node = app.graph.getNodeById(id);
        node.widgets.find(one => one.name === "layers").value = "duble_blocks"; }""",
        graph.ids[1],
    )
    with pytest.raises(ComfyUIError, match="did you mean double_blocks"):
        view.run()
    graph.settle()
    error = graph.find(".alloy-status .alloy-error")
    assert error.inner_text().endswith("did you mean double_blocks or single_blocks?")
    assert error.bounding_box()["height"] > 0
    view.evaluate(
        """id => { const node = app.graph.getNodeById(id);
        node.widgets.find(one => one.name === "layers").value = ""; }""",
        graph.ids[1],
    )
    view.run()
    graph.settle()
    assert graph.find(".alloy-status .alloy-error").count() == 0 and view.errors == []


def test_a_reload_brings_everything_back(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux, "single_blocks.5: 0.75")
    view.run()
    view.view.wait_for_timeout(1500)  # The page saves its workflow a while after a change.
    view.reload()
    graph.settle()
    assert graph.value(1, "block_weights") == "single_blocks.5: 0.75"
    assert graph.find(".alloy-body .alloy-track").nth(9).get_attribute("aria-valuenow") == "0.75"
    assert any("58 modules" in text for text in graph.find(".alloy-status").all_inner_texts())
    assert view.errors == []


def test_copies_have_panels_of_their_own(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux, "single_blocks.5: 0.75")
    view.evaluate(
        """ids => { app.canvas.selectItems(ids.map(id => app.graph.getNodeById(id)));
        app.canvas.copyToClipboard(); app.canvas.pasteFromClipboard(); }""",
        graph.ids[:2],
    )
    graph.settle()
    assert graph.find(".alloy-panel").count() == 2
    copy = graph.find(".alloy-panel").nth(1).locator(".alloy-body .alloy-track").nth(0)
    copy.focus()
    view.view.keyboard.press("Home")
    graph.settle()
    texts = view.evaluate(
        """() => app.graph.nodes.filter(node => node.type === "LoraAlloyBlocks")
        .map(node => node.widgets.find(one => one.name === "block_weights").value)"""
    )
    assert texts == ["single_blocks.5: 0.75", "double_blocks.0: -2\nsingle_blocks.5: 0.75"]
    assert view.errors == []


def test_inside_a_subgraph_the_file_is_found_through_its_wire(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux, "single_blocks.5: 0.75")
    view.evaluate(INTO_SUBGRAPH, graph.ids[1])
    graph.settle()
    assert graph.find(".alloy-body .alloy-track").nth(9).get_attribute("aria-valuenow") == "0.75"
    view.run()
    graph.settle()
    assert any("58 modules" in text for text in graph.find(".alloy-status").all_inner_texts())
    view.evaluate("() => app.canvas.setGraph(app.rootGraph)")
    assert view.errors == []


def test_what_one_page_runs_is_not_shown_on_another(view: Page, comfyui: Server, flux: str) -> None:
    graph = blocks_graph(view, flux, "double_blocks.2: 0.4")
    with view.another() as other:
        there = blocks_graph(other, flux, "double_blocks.2: 0.3")
        view.run()
        graph.settle()
        assert any("58 modules" in text for text in graph.find(".alloy-status").all_inner_texts())
        assert not any(there.find(".alloy-status").all_inner_texts())


def test_without_the_script_the_nodes_are_plain(
    page: Page, comfyui: Server, flux: str
) -> None:
    with page.another(without="**/extensions/lora-alloy/*.js") as plain:
        graph = blocks_graph(plain, flux, "single_blocks.0: 0.5")
        assert graph.find(".alloy-face").count() == 0
        run = plain.run()
        saved = plain.evaluate("() => app.graph.serialize()")
    outputs = comfyui.get(f"/history/{run}")[run]["outputs"]
    assert "58 modules, rank 4" in str(outputs)
    values = next(one for one in saved["nodes"] if one["type"] == "LoraAlloyBlocks")
    assert page.load(saved) == []
    again = page.evaluate("() => app.graph.serialize()")
    same = next(one for one in again["nodes"] if one["type"] == "LoraAlloyBlocks")
    assert same["widgets_values"] == values["widgets_values"]


def test_rows_of_a_blend(view: Page, comfyui: Server, flux: str) -> None:
    other = save(comfyui, "page-other", random_lora(models.flux(), "generic", seed=4))
    kinds = [["LoraAlloyLoad", 0, 60], ["LoraAlloyLoad", 0, 560], ["LoraAlloyBlend", 420, 60],
             ["LoraAlloySave", 900, 60]]  # fmt: skip
    wires = [[0, 0, 2, 0], [1, 0, 2, 1], [2, 0, 3, 0]]
    graph = Graph(view, kinds, wires, [{"lora_name": flux}, {"lora_name": other}, {}, {}])
    rows = graph.find(".alloy-rows .alloy-row")
    names = graph.find(".alloy-rows .alloy-name")
    assert names.all_inner_texts() == [flux, other]

    rows.nth(0).locator("input[type=checkbox]").click()
    assert graph.value(2, "rows") == "lora_1: 1 off\nlora_2: 1"
    rows.nth(0).locator("input[type=checkbox]").click()
    assert graph.value(2, "rows") == ""
    rows.nth(1).get_by_title("Earlier").click()
    assert graph.value(2, "rows") == "lora_2: 1\nlora_1: 1"
    assert names.all_inner_texts() == [other, flux]
    rows.nth(0).locator(".alloy-number").fill("0.5")
    rows.nth(0).locator(".alloy-number").press("Enter")
    assert graph.value(2, "weight_2") == 0.5
    field = graph.find(".alloy-file")
    field.focus()
    graph.settle()
    field.fill(flux)
    field.press("Tab")
    graph.settle()
    rows.nth(2).get_by_title("Blocks of this LoRA").click()
    graph.settle()
    graph.find(".alloy-rows .alloy-body .alloy-track").nth(0).focus()
    view.view.keyboard.press("Home")
    graph.settle()
    text = f"lora_2: 1\nlora_1: 1\n{flux}: 1\n  double_blocks.0: -2"
    assert graph.value(2, "rows") == text
    view.run()
    assert view.errors == []


def test_presets_travel_in_files_of_the_command_line(page: Page, tmp_path: Path) -> None:
    text = "double_blocks.0-1: 0.5\nsingle_blocks: 0"
    file, count, found = page.evaluate(PRESETS, text)
    assert (count, found) == (2, {"soft": text, "hard": "single_blocks: 0"})
    (tmp_path / "presets.txt").write_text(file)
    assert from_files(f"@{tmp_path / 'presets.txt'}:soft").strip() == text


def test_the_script_is_small() -> None:
    assert sum(path.stat().st_size for path in (PACK / "web").glob("*.js")) < 60_000
