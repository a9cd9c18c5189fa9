/** LoRA Blend's LoRAs as rows: on and off, weight, order, blocks, and files without a wire. */

import { Panel } from "./blocks.js";
import { api, originOf, remember, setWidget, sourceOf, widgetOf } from "./comfyui.js";
import { button, el } from "./elements.js";
import { plain, readRows, socketOf, writeRows } from "./row_text.js";

/** The files that can be chosen, asked for once. @type {Promise<string[]> | undefined} */
let files;

export class Rows {
  /** @param {import("./types").GraphNode} node @param {{energy: Function, changed: () => void}} given */
  constructor(node, given) {
    this.node = node;
    this.given = given;
    this.element = el("div");
    /** The rows whose blocks are open, with their panels. @type {Map<string, Panel>} */
    this.panels = new Map();
    this.refresh();
  }

  get text() {
    return String(widgetOf(this.node, "rows")?.value ?? "");
  }

  /** {name of a row: name of its input}, of the sockets that have a wire. */
  wires() {
    const inputs = this.node.inputs.filter((input) => input.type === "LORA_MODEL" && input.link != null);
    return Object.fromEntries(inputs.map(({ name }) => [name.split(".").at(-1), name]));
  }

  /** All rows in the order in which they are blended: what has no line comes first. */
  rows() {
    const told = readRows(this.text);
    if (!told) return undefined;
    const silent = Object.keys(this.wires()).filter((name) => !told.some((row) => row.name === name));
    return [...silent.sort((a, b) => socketOf(a) - socketOf(b)).map(plain), ...told];
  }

  write(rows) {
    setWidget(this.node, "rows", writeRows(rows));
    remember();
    this.refresh();
  }

  refresh() {
    const rows = this.rows();
    const wires = this.wires();
    const state = JSON.stringify([rows, wires, Object.values(wires).map((name) => sourceOf(this.node, name)),
      ["weight_1", "weight_2"].map((name) => widgetOf(this.node, name)?.value), [...this.panels.keys()]]);
    if (state === this.state) return this.panels.forEach((panel) => panel.refresh());
    this.state = state;
    const list = rows
      ? rows.flatMap((row, index) => this.row(rows, index, wires[row.name]))
      : [el("div", { className: "alloy-error" }, "The text of rows cannot be read: a line is 'NAME: NUMBER' or 'NAME: NUMBER off'.")];
    this.element.replaceChildren(...list, rows ? this.adder(rows) : "");
    this.panels.forEach((panel) => panel.refresh());
    this.given.changed();
  }

  row(rows, index, wire) {
    const row = rows[index];
    const socket = socketOf(row.name);
    const source = () => (socket ? (wire ? sourceOf(this.node, wire) : undefined) : { name: row.name });
    const from = wire && originOf(this.node, wire);
    const name = source()?.name ?? from?.title ?? (socket ? "nothing is connected" : row.name);
    const own = socket === 1 || socket === 2 ? widgetOf(this.node, `weight_${socket}`) : undefined;
    const change = (part) => this.write(rows.map((one) => (one === row ? { ...one, ...part } : one)));
    const move = (by) => {
      const order = rows.filter((one) => one !== row);
      order.splice(Math.max(0, index + by), 0, row);
      this.write(order);
    };
    const weight = el("input", {
      type: "number", step: 0.05, className: "alloy-number", "aria-label": `weight of ${name}`,
      value: String(Number(((own ? Number(own.value) : 1) * row.weight).toFixed(4))),
      onchange: () => {
        if (weight.value === "") return;
        if (own) setWidget(this.node, own.name, Number(weight.value));
        change({ weight: own ? 1 : Number(weight.value) });
      },
    });
    const open = this.panels.has(row.name);
    const element = el(
      "div",
      { className: `alloy-row${row.on ? "" : " alloy-off"}` },
      el("input", { type: "checkbox", checked: row.on, title: "On or off", "aria-label": `use ${name}`, onchange: (event) => change({ on: event.target.checked }) }),
      el("span", { className: "alloy-name", title: socket ? `${row.name}: ${name}` : name }, name),
      weight,
      button("\u25b2", "Earlier: the first LoRA gives the result its names and numbers", () => move(-1), { disabled: index === 0 }),
      button("\u25bc", "Later", () => move(1), { disabled: index === rows.length - 1 }),
      button(row.blocks.length ? "\u2261" : "\u2630", "Blocks of this LoRA", () => this.toggle(row.name, source), { "aria-pressed": open || row.blocks.length > 0 }),
      (!socket || !wire) && button("\u2715", "Remove this row", () => this.write(rows.filter((one) => one !== row))),
    );
    const panel = this.panels.get(row.name);
    return panel ? [element, panel.element] : [element];
  }

  toggle(name, source) {
    if (!this.panels.delete(name)) {
      this.panels.set(name, new Panel({
        kind: "block_weights",
        key: `${this.node.id} ${name}`,
        get: () => this.rows()?.find((row) => row.name === name)?.blocks.join("\n") ?? "",
        set: (text) => {
          const rows = this.rows()?.map((row) => (row.name === name ? { ...row, blocks: text.split("\n").filter(Boolean) } : row));
          if (rows) setWidget(this.node, "rows", writeRows(rows));
        },
        source,
        energy: () => this.given.energy(source()),
        changed: this.given.changed,
      }));
    }
    this.refresh();
  }

  /** Where a file is chosen that needs no wire. */
  adder(rows) {
    const id = `alloy-files-${this.node.id}`;
    const names = el("datalist", { id });
    const field = el("input", {
      type: "text", className: "alloy-file", placeholder: "Add a LoRA file ...", "aria-label": "add a LoRA file",
      onfocus: async () => {
        files ??= api.fetchApi("/models/loras").then((answer) => answer.json());
        names.replaceChildren(...(await files).map((value) => el("option", { value })));
      },
      onchange: async () => {
        if ((await files)?.includes(field.value)) this.write([...rows, plain(field.value)]);
      },
    });
    field.setAttribute("list", id);
    return el("div", { className: "alloy-row" }, field, names);
  }
}

/** The list of files may be another one. */
export const forgetFiles = () => (files = undefined);
