"""Nodes of the pack on ComfyUI's page, and what is on them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

from tests.comfyui.browser import Page

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
SET = """([id, name, value]) => {
    app.graph.getNodeById(id).widgets.find(one => one.name === name).value = value;
}"""
COPY = """ids => {
    app.canvas.selectItems(ids.map(id => app.graph.getNodeById(id)));
    app.canvas.copyToClipboard();
    app.canvas.pasteFromClipboard();
}"""
TEXTS = """() => app.graph.nodes.filter(node => node.type === "LoraAlloyBlocks")
    .map(node => node.widgets.find(one => one.name === "block_weights").value)"""
INTO_SUBGRAPH = """id => {
    const {subgraph} = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]));
    app.canvas.setGraph(subgraph);
}"""


def eventually(read: Callable[[], Any], wanted: Any) -> None:
    """What the page is about to show has come: it asks the server first."""
    deadline = time.monotonic() + 15.0
    while (found := read()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == wanted


class Graph:
    """Nodes on the page, and what is on them."""

    def __init__(self, page: Page, kinds: list[Any], wires: list[Any], widgets: list[Any]) -> None:
        self.page = page
        page.load({"nodes": [], "links": [], "version": 0.4, "extra": {}})
        self.ids = page.evaluate(BUILD, [kinds, wires, widgets])

    @property
    def tracks(self) -> Any:
        """The sliders of blocks, not those of groups."""
        return self.find(".alloy-body .alloy-track")

    def press(self, slider: int, key: str) -> None:
        self.tracks.nth(slider).focus()
        self.page.view.keyboard.press(key)

    def shows(self, slider: int, value: str) -> None:
        expect(self.tracks.nth(slider)).to_have_attribute("aria-valuenow", value)

    def says(self, text: str | re.Pattern[str]) -> None:
        """One of the nodes has this as its status."""
        expect(self.find(".alloy-status").filter(has_text=text)).to_have_count(1)

    def text(self) -> Any:
        """What LoRA Blocks, the second node, would save."""
        return self.value(1, "block_weights")

    def value(self, node: int, name: str) -> Any:
        return self.page.evaluate(VALUE, [self.ids[node], name])

    def find(self, selector: str) -> Any:
        return self.page.view.locator(selector)


def blocks_graph(page: Page, name: str, text: str = "") -> Graph:
    """Load LoRA for Editing -> LoRA Blocks -> Save LoRA."""
    kinds = [["LoraAlloyLoad", 0, 60], ["LoraAlloyBlocks", 420, 60], ["LoraAlloySave", 900, 60]]
    wires = [[0, 0, 1, 0], [1, 0, 2, 0]]
    return Graph(page, kinds, wires, [{"lora_name": name}, {"block_weights": text}, {}])
