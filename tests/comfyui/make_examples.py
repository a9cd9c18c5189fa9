"""Draws the example workflows: example_workflows/*.json, and a picture of each run for its .jpg.

    python -m tests.comfyui.make_examples [a part of a title]

Each is built node by node in ComfyUI's real page and stored as the page stores it, so that the
files are what a user would have saved. For the picture the same graph runs with tiny stand-ins,
under their own names: the graph is real, the images and charts are not those of the real models.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from core.version import version
from tests.comfyui import models
from tests.comfyui.browser import Page
from tests.comfyui.example_parts import Example
from tests.comfyui.examples import EXAMPLES
from tests.comfyui.harness import Server
from tests.comfyui.stand_ins import with_tiny_models, write_stand_ins

PACK = Path(__file__).parents[2]
FOLDER = PACK / "example_workflows"

BUILD = """async ({nodes, groups}) => {
    const {graph, canvas} = window.app;
    graph.clear();
    const made = {};
    const later = () => new Promise(done => setTimeout(done, 50));
    for (const spec of nodes) {
        const node = window.LiteGraph.createNode(spec.type);
        if (!node) throw new Error("no node " + spec.type);
        node.pos = spec.pos;
        graph.add(node);
        for (const [name, value] of Object.entries(spec.widgets)) {
            const widget = name ? node.widgets.find(w => w.name === name) : node.widgets[0];
            if (!widget) throw new Error(
                `no widget ${name} in ${spec.type}: ${node.widgets.map(w => w.name)}`);
            widget.value = value;
            widget.callback?.(value, canvas, node);
            await later();
        }
        if (spec.title) node.title = spec.title;
        const least = node.computeSize();
        node.setSize([Math.max(spec.size[0], 0) || least[0], Math.max(spec.size[1], least[1])]);
        Object.assign(node.properties, spec.properties);
        made[spec.name] = node;
    }
    for (const spec of nodes) for (const [input, [name, output]] of Object.entries(spec.links)) {
        const from = made[name], to = made[spec.name];
        const slot = from.outputs.findIndex(slot => slot.name === output);
        const target = to.inputs.findIndex(slot => slot.name === input);
        if (slot < 0 || target < 0 || !from.connect(slot, to, target))
            throw new Error(`cannot connect ${name}.${output} to ${spec.name}.${input}`);
    }
    for (const [title, names] of Object.entries(groups)) {
        const group = new window.LiteGraph.LGraphGroup(title);
        const inside = names.map(name => made[name]);
        const edge = (of, axis, from) => of(...inside.map(n => n.pos[axis] + from * n.size[axis]));
        // Above a node are its title and the name of its pack.
        group.pos = [edge(Math.min, 0, 0) - 20, edge(Math.min, 1, 0) - 90];
        // Below one is room for what it says after a run.
        group.size = [20, 40].map((room, axis) => edge(Math.max, axis, 1) + room - group.pos[axis]);
        graph.add(group);
    }
    await later();
    return JSON.parse(JSON.stringify(graph.serialize()));
}"""

# Everything but the graph goes, and the graph fills the picture.
FRAME = """async () => {
    const {graph, canvas} = window.app;
    const boxes = [...graph.nodes.map(node => node.getBounding()),
        ...graph.groups.map(group => [...group.pos, ...group.size])];
    const left = Math.min(...boxes.map(b => b[0])), top = Math.min(...boxes.map(b => b[1]));
    const right = Math.max(...boxes.map(b => b[0] + b[2]));
    const bottom = Math.max(...boxes.map(b => b[1] + b[3]));
    const wide = window.innerWidth, tall = window.innerHeight;
    const scale = Math.min(wide / (right - left + 60), tall / (bottom - top + 60), 1);
    canvas.ds.scale = scale;
    canvas.ds.offset[0] = (wide / scale - right - left) / 2;
    canvas.ds.offset[1] = (tall / scale - bottom - top) / 2;
    canvas.show_info = false;
    canvas.setDirty(true, true);
    const across = (right - left + 40) * scale, down = (bottom - top + 40) * scale;
    return [(wide - across) / 2, (tall - down) / 2, (wide + across) / 2, (tall + down) / 2];
}"""
HIDE = """
    body * { visibility: hidden !important; }
    #graph-canvas, .dom-widget, .dom-widget * { visibility: visible !important; }
"""


def main() -> None:
    wanted = sys.argv[1].lower() if len(sys.argv) > 1 else ""
    FOLDER.mkdir(exist_ok=True)
    server = Server(packs={"lora-alloy": PACK})
    models.write(server.folder)
    write_stand_ins(server.folder)
    with server:
        for example in EXAMPLES:
            if wanted in example.title.lower():
                # A page of its own: one remembers what a node with the same number said.
                with Page(server.url, width=1600, height=1000) as page:
                    draw(page, server, example)


def draw(page: Page, server: Server, example: Example) -> None:
    """Write one example's workflow and picture."""
    page.load({"nodes": [], "links": [], "version": 0.4})
    workflow = page.evaluate(
        BUILD, {"nodes": [node.spec() for node in example.nodes], "groups": example.groups}
    )
    tidy(workflow, server)
    path = FOLDER / f"{example.title}.json"
    path.write_text(json.dumps(workflow, indent=1, ensure_ascii=True) + "\n")

    assert page.load(with_tiny_models(workflow, size=128, steps=2)) == []
    page.run()
    png = server.base / "example.png"
    frame = page.picture(png, HIDE, FRAME)
    picture = Image.open(png).convert("RGB").crop(tuple(round(edge) for edge in frame))
    picture.save(path.with_suffix(".jpg"), quality=85, optimize=True)
    print(path.stem, page.errors or "")


def tidy(workflow: dict[str, Any], server: Server) -> None:
    """Say where every node comes from, and leave out what only this page knows."""
    core = server.get("/system_stats")["system"]["comfyui_version"]
    for node in workflow["nodes"]:
        ours = node["type"].startswith("LoraAlloy")
        if node["type"] != "MarkdownNote":
            node["properties"]["cnr_id"] = "lora-alloy" if ours else "comfy-core"
            node["properties"]["ver"] = version() if ours else core
        node.pop("widgets_values_named", None)
    workflow.pop("id", None)
    workflow["extra"] = {"ds": view(workflow)}


# Of a window of 1600 x 900: what the page's bars leave.
LEFT, TOP, RIGHT, BOTTOM = 70, 60, 1580, 880


def view(workflow: dict[str, Any]) -> dict[str, Any]:
    """Where the page opens it: all of it in the middle of a window, as large as it fits."""
    boxes = [(x, y - 40, x + w, y + h + 40) for (x, y), (w, h) in
             ((node["pos"], node["size"]) for node in workflow["nodes"])]  # fmt: skip
    boxes += [(x, y, x + w, y + h) for x, y, w, h in (g["bounding"] for g in workflow["groups"])]
    left, top = (min(box[i] for box in boxes) for i in (0, 1))
    right, bottom = (max(box[i] for box in boxes) for i in (2, 3))
    scale = min((RIGHT - LEFT) / (right - left), (BOTTOM - TOP) / (bottom - top), 1)
    assert scale >= 0.7, f"it is {right - left:.0f} x {bottom - top:.0f}: too large to be read"
    offset = [(LEFT + RIGHT) / scale - right - left, (TOP + BOTTOM) / scale - bottom - top]
    return {"scale": round(scale, 3), "offset": [round(place / 2) for place in offset]}


if __name__ == "__main__":
    main()
