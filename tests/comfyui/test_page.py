"""The pack's own side of the page, used by mouse and keyboard in both renderers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from core.edits.block_weights import from_files
from tests.comfyui import models
from tests.comfyui.alloy import save
from tests.comfyui.browser import Page
from tests.comfyui.conftest import PACK
from tests.comfyui.harness import ComfyUIError, Server
from tests.comfyui.loras import random_lora
from tests.comfyui.on_page import (
    COPY,
    INTO_SUBGRAPH,
    PRESETS,
    SET,
    TEXTS,
    Graph,
    blocks_graph,
    eventually,
)

RENDERERS = {"classic": False, "nodes 2.0": True}
ODD = "<img src=x onerror=window.hacked=1>"


@pytest.fixture(params=list(RENDERERS))
def view(page: Page, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page with one of its renderers; nothing in a test may end up in its console."""
    page.setting("Comfy.VueNodes.Enabled", RENDERERS[request.param])
    page.view.wait_for_timeout(300)
    page.errors.clear()
    yield page
    page.setting("Comfy.VueNodes.Enabled", False)


@pytest.fixture(scope="session")
def flux(comfyui: Server) -> str:
    """A LoRA with 4 double and 6 single blocks."""
    lora = random_lora(models.flux(), "kohya", seed=3)
    words = {"modelspec.trigger_phrase": f"ohwx, {ODD}", "modelspec.title": "**A** title"}
    return save(comfyui, "page-flux", lora, **words)


def test_a_chosen_file_is_shown_at_once(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux)
    expect(graph.find(".alloy-bars i")).to_have_count(4 + 6)
    card = graph.find(".alloy-card").inner_text()
    for words in ("**A** title", "Flux", "58, 1", "LoRA", "float32", "double_blocks: 4"):
        assert words in card
    assert graph.find(".alloy-words button").all_inner_texts() == ["ohwx", ODD]
    assert "parameters" in graph.find(".alloy-bars i").first.get_attribute("title")
    assert graph.find(".alloy-card img").count() == 0
    assert view.evaluate("window.hacked") is None and view.errors == []


def test_a_file_with_any_name_is_text(view: Page, comfyui: Server) -> None:
    lora = random_lora(models.flux(), "kohya", only="single_blocks.0.*")
    name = save(comfyui, ODD.replace("/", ""), lora)
    graph = blocks_graph(view, name, "nothing: 1")
    expect(graph.find(".alloy-panel .alloy-error")).to_contain_text(name)
    assert view.evaluate("window.hacked") is None and view.errors == []


def test_sliders_write_the_text_and_the_text_moves_the_sliders(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux)
    expect(graph.tracks).to_have_count(10)
    mouse = view.view.mouse
    first, last = graph.tracks.nth(1).bounding_box(), graph.tracks.nth(3).bounding_box()
    x = first["x"] + 0.625 * first["width"]  # 0.5 between -2 and 2
    mouse.move(x, first["y"] + 6)
    mouse.down()
    mouse.move(x, last["y"] + 6, steps=12)
    mouse.up()
    eventually(graph.text, "double_blocks.1-3: 0.5")
    graph.press(2, "ArrowRight")
    graph.press(4, "End")
    text = "double_blocks.1: 0.5\ndouble_blocks.2: 0.55\ndouble_blocks.3: 0.5\nsingle_blocks.0: 2"
    eventually(graph.text, text)

    area = next(one for one in graph.find("textarea").all() if one.input_value() == text)
    area.fill("*mlp*: 0.25\ndouble_blocks.0: -1")
    numbers = graph.find(".alloy-body .alloy-row > .alloy-number")
    expect(numbers.nth(0)).to_have_value("-1")
    expect(numbers.nth(1)).to_have_attribute("placeholder", "mixed")
    # What the panel could not have written stays as it stands.
    numbers.nth(5).fill("1.5")
    numbers.nth(5).press("Enter")
    eventually(graph.text, "*mlp*: 0.25\ndouble_blocks.0: -1\nsingle_blocks.1: 1.5")
    assert view.errors == []


def test_rows_can_be_muted_heard_alone_and_turned(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux, "double_blocks.1: 0.5")
    graph.shows(1, "0.5")
    row = graph.find(".alloy-body .alloy-row").nth(1)
    alone = "double_blocks.0: 0\ndouble_blocks.1: 0.5\ndouble_blocks.2-3: 0\nsingle_blocks: 0"
    for label, wanted in (
        ("M", "double_blocks.1: 0"), ("M", "double_blocks.1: 0.5"),
        ("S", alone), ("S", "double_blocks.1: 0.5"), ("\u00b1", "double_blocks.1: -0.5"),
    ):  # fmt: skip
        row.get_by_role("button", name=label, exact=True).click()
        eventually(graph.text, wanted)
    tools = graph.find(".alloy-tools")
    tools.get_by_role("button", name="Reset").click()
    eventually(graph.text, "")
    tools.locator(".alloy-count").fill("3")
    tools.get_by_role("button", name="Top").click()
    eventually(graph.text, "double_blocks.3: 0\nsingle_blocks: 0")
    assert view.errors == []


def test_undo_and_redo_take_single_steps(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux)
    expect(graph.tracks).to_have_count(10)
    texts = ["", "double_blocks.0: -2", "double_blocks.0-1: -2", "double_blocks.0-2: -2"]
    for index in range(3):
        graph.press(index, "Home")
        eventually(graph.text, texts[index + 1])
    view.view.mouse.click(1300, 800)
    for key, step in (("z", 2), ("z", 1), ("y", 2), ("y", 3)):
        view.view.keyboard.press(f"Control+{key}")
        eventually(graph.text, texts[step])
        graph.shows(2, "-2" if step == 3 else "1")
        view.view.wait_for_timeout(300)  # The page takes no second step while it takes one.
    assert view.errors == []


def test_status_and_errors_are_on_the_node(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux, "double_blocks.0: 0.5")
    view.run()
    graph.says(re.compile(r"58 modules, rank 4.*[kM]B.*relative error", re.S))
    graph.says("saved as alloy_")
    view.evaluate(SET, [graph.ids[1], "layers", "duble_blocks"])
    with pytest.raises(ComfyUIError, match="did you mean double_blocks"):
        view.run()
    error = graph.find(".alloy-status .alloy-error")
    expect(error).to_contain_text("did you mean double_blocks or single_blocks?")
    assert error.bounding_box()["height"] > 0
    view.evaluate(SET, [graph.ids[1], "layers", ""])
    view.run()
    expect(error).to_have_count(0)
    assert view.errors == []


def test_a_table_sorts_unfolds_and_switches_blocks(view: Page, flux: str) -> None:
    kinds = [["LoraAlloyLoad", 0, 60], ["LoraAlloyBlocks", 420, 60],
             ["LoraAlloyLayerAnalysis", 900, 60]]  # fmt: skip
    graph = Graph(view, kinds, [[0, 0, 1, 0], [0, 0, 2, 0]], [{"lora_name": flux}, {}, {}])
    view.run()
    blocks = graph.find(".alloy-table .alloy-link")
    expect(blocks).to_have_count(10)
    share = graph.find(".alloy-table th").nth(1)
    assert share.get_attribute("title") == "dW.energy_share"
    share.click()
    column = graph.find(".alloy-table tbody td:nth-child(2)")
    shares = [float(text) for text in column.all_inner_texts()]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=0.01)
    graph.find(".alloy-table .alloy-fold").first.click()
    expect(graph.find(".alloy-inner").first).to_be_visible()
    name = blocks.first.inner_text()
    blocks.first.click()
    eventually(graph.text, f"{name}: 0")
    assert "of the energy" in graph.find(".alloy-card .alloy-known i").first.get_attribute("title")
    assert view.errors == []


def test_switches_write_selectors(view: Page, flux: str) -> None:
    """Of Rank Resize no text means all layers, of what Top Blocks always keeps it means none."""
    kinds = [["LoraAlloyLoad", 0, 60], ["LoraAlloyRankResize", 420, 60],
             ["LoraAlloyTopBlocks", 900, 60]]  # fmt: skip
    graph = Graph(view, kinds, [[0, 0, 1, 0], [0, 0, 2, 0]], [{"lora_name": flux}, {}, {}])
    for node, name, first, wanted in (
        (1, "layers", True, "-double_blocks.1"), (2, "always", False, "double_blocks.1"),
    ):  # fmt: skip
        panel = graph.find(".alloy-panel").nth(node - 1)
        box = panel.get_by_label("double_blocks.1", exact=True)
        for text, checked in (("", first), (wanted, not first), ("", first)):
            eventually(partial(graph.value, node, name), text)
            expect(box).to_be_checked(checked=checked)
            box.click()
    assert view.errors == []


def test_a_reload_brings_everything_back(page: Page, flux: str) -> None:
    graph = blocks_graph(page, flux, "single_blocks.5: 0.75")
    page.run()
    page.view.wait_for_timeout(1500)  # The page saves its workflow a while after a change.
    page.reload()
    graph.shows(9, "0.75")
    assert graph.text() == "single_blocks.5: 0.75"
    graph.says("58 modules")
    assert page.errors == []


def test_copies_have_panels_of_their_own(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux, "single_blocks.5: 0.75")
    view.evaluate(COPY, graph.ids[:2])
    expect(graph.find(".alloy-panel .alloy-list")).to_have_count(2)
    graph.find(".alloy-panel").nth(1).locator(".alloy-body .alloy-track").nth(0).focus()
    view.view.keyboard.press("Home")
    wanted = ["single_blocks.5: 0.75", "double_blocks.0: -2\nsingle_blocks.5: 0.75"]
    eventually(lambda: view.evaluate(TEXTS), wanted)
    assert view.errors == []


def test_inside_a_subgraph_the_file_is_found_through_its_wire(view: Page, flux: str) -> None:
    graph = blocks_graph(view, flux, "single_blocks.5: 0.75")
    view.evaluate(INTO_SUBGRAPH, graph.ids[1])
    graph.shows(9, "0.75")
    view.run()
    graph.says("58 modules")
    view.evaluate("() => app.canvas.setGraph(app.rootGraph)")
    assert view.errors == []


def test_what_one_page_runs_is_not_shown_on_another(page: Page, flux: str) -> None:
    graph = blocks_graph(page, flux, "double_blocks.2: 0.4")
    with page.another() as other:
        there = blocks_graph(other, flux, "double_blocks.2: 0.3")
        page.run()
        graph.says("58 modules")
        assert not any(there.find(".alloy-status").all_inner_texts())


def test_without_the_script_the_nodes_are_plain(page: Page, comfyui: Server, flux: str) -> None:
    with page.another(without="**/extensions/lora-alloy/*.js") as plain:
        graph = blocks_graph(plain, flux, "single_blocks.0: 0.5")
        assert graph.find(".alloy-face").count() == 0
        run = plain.run()
        saved = plain.evaluate("() => app.graph.serialize()")
    outputs = comfyui.get(f"/history/{run}")[run]["outputs"]
    assert "58 modules, rank 4" in str(outputs)
    assert page.load(saved) == []
    again = page.evaluate("() => app.graph.serialize()")
    for one, other in zip(saved["nodes"], again["nodes"], strict=True):
        assert (one["type"], one["widgets_values"]) == (other["type"], other["widgets_values"])


def test_rows_of_a_blend(view: Page, comfyui: Server, flux: str) -> None:
    other = save(comfyui, "page-other", random_lora(models.flux(), "generic", seed=4))
    kinds = [["LoraAlloyLoad", 0, 60], ["LoraAlloyLoad", 0, 560], ["LoraAlloyBlend", 420, 60],
             ["LoraAlloySave", 900, 60]]  # fmt: skip
    wires = [[0, 0, 2, 0], [1, 0, 2, 1], [2, 0, 3, 0]]
    graph = Graph(view, kinds, wires, [{"lora_name": flux}, {"lora_name": other}, {}, {}])
    rows = graph.find(".alloy-rows .alloy-row")
    names = graph.find(".alloy-rows .alloy-name")
    expect(names).to_have_text([flux, other])

    def told() -> Any:
        return graph.value(2, "rows")

    rows.nth(0).locator("input[type=checkbox]").click()
    eventually(told, "lora_1: 1 off\nlora_2: 1")
    rows.nth(0).locator("input[type=checkbox]").click()
    eventually(told, "")
    rows.nth(1).get_by_title("Earlier").click()
    eventually(told, "lora_2: 1\nlora_1: 1")
    expect(names).to_have_text([other, flux])
    rows.nth(0).locator(".alloy-number").fill("0.5")
    rows.nth(0).locator(".alloy-number").press("Enter")
    eventually(lambda: graph.value(2, "weight_2"), 0.5)
    graph.find(".alloy-file").focus()
    expect(graph.find(f'datalist option[value="{flux}"]')).to_have_count(1)
    graph.find(".alloy-file").fill(flux)
    graph.find(".alloy-file").press("Tab")
    rows.nth(2).get_by_title("Blocks of this LoRA").click()
    expect(graph.tracks).to_have_count(10)
    graph.press(0, "Home")
    eventually(told, f"lora_2: 1\nlora_1: 1\n{flux}: 1\n  double_blocks.0: -2")
    view.run()
    graph.says(re.compile("modules, rank"))
    assert view.errors == []


def test_presets_travel_in_files_of_the_command_line(page: Page, tmp_path: Path) -> None:
    text = "double_blocks.0-1: 0.5\nsingle_blocks: 0"
    file, count, found = page.evaluate(PRESETS, text)
    assert (count, found) == (2, {"soft": text, "hard": "single_blocks: 0"})
    (tmp_path / "presets.txt").write_text(file)
    assert from_files(f"@{tmp_path / 'presets.txt'}:soft").strip() == text


def test_the_script_is_small() -> None:
    assert sum(path.stat().st_size for path in (PACK / "web").glob("*.js")) < 60_000
