/** LoRA Blend's LoRAs as rows: on and off, weight, order, blocks, and files without a wire. */

import { written } from "./block_text.js";
import { Panel } from "./blocks.js";
import { api, originOf, placeOf, remember, setWidget, sourceOf, widgetOf } from "./comfyui.js";
import { button, el, note, numberField } from "./elements.js";
import { plain, readRows, socketOf, writeRows } from "./row_text.js";

/** The files that can be chosen, asked for once. @type {Promise<string[]> | undefined} */
let files;

export class Rows {
  constructor(node, energyOf, changed) {
    this.node = node;
    this.energyOf = energyOf;
    this.changed = changed;
    this.element = el("div");
    /** Of rows whose blocks are open. @type {Map<string, Panel>} */
    this.panels = new Map();
    this.refresh();
  }

  /** {row: its input}, of sockets with a wire. */
  wires() {
    const inputs = this.node.inputs.filter((input) => input.type === "LORA_MODEL" && input.link != null);
    return Object.fromEntries(inputs.map(({ name }) => [name.split(".").at(-1), name]));
  }

  /** All rows in their order: what has no line comes first. */
  rows() {
    const told = readRows(String(widgetOf(this.node, "rows")?.value ?? ""));
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
      : [note("The text of rows cannot be read: a line is 'NAME: NUMBER' or 'NAME: NUMBER off'.", true)];
    this.element.replaceChildren(...list, rows ? this.adder(rows) : "");
    this.panels.forEach((panel) => panel.refresh());
    this.changed();
  }

  row(rows, index, wire) {
    const row = rows[index];
    const socket = socketOf(row.name);
    const source = () => (socket ? (wire ? sourceOf(this.node, wire) : undefined) : { name: row.name });
    const name = source()?.name ?? (wire ? originOf(this.node, wire)?.title : "nothing is connected");
    const own = widgetOf(this.node, `weight_${socket}`);
    const change = (part) => this.write(rows.map((one) => (one === row ? { ...one, ...part } : one)));
    const move = (by) => {
      const order = rows.filter((one) => one !== row);
      order.splice(Math.max(0, index + by), 0, row);
      this.write(order);
    };
    const weight = numberField(`weight of ${name}`, (value) => {
      if (own) setWidget(this.node, own.name, value);
      change({ weight: own ? 1 : value });
    });
    weight.value = written((own ? Number(own.value) : 1) * row.weight);
    const panel = this.panels.get(row.name);
    const element = el("div", { className: `alloy-row${row.on ? "" : " alloy-off"}` },
      el("input", { type: "checkbox", checked: row.on, "aria-label": `use ${name}`, onchange: () => change({ on: !row.on }) }),
      el("span", { className: "alloy-name", title: socket ? `${row.name}: ${name}` : name }, name),
      weight,
      button("\u25b2", "Earlier: the first one gives its names to the result", () => move(-1), { disabled: index === 0 }),
      button("\u25bc", "Later", () => move(1), { disabled: index === rows.length - 1 }),
      button("\u2630", "Blocks of this LoRA", () => this.toggle(row.name, source), { "aria-pressed": !!panel || row.blocks.length > 0 }),
      (!socket || !wire) && button("\u2715", "Remove this row", () => this.write(rows.filter((one) => one !== row))),
    );
    return panel ? [element, panel.element] : [element];
  }

  toggle(name, source) {
    if (!this.panels.delete(name)) {
      this.panels.set(name, new Panel({
        kind: "block_weights",
        key: () => `${placeOf(this.node)} ${name}`,
        get: () => this.rows()?.find((row) => row.name === name)?.blocks.join("\n") ?? "",
        set: (text) => {
          const rows = this.rows()?.map((row) => (row.name === name ? { ...row, blocks: text.split("\n").filter(Boolean) } : row));
          if (rows) setWidget(this.node, "rows", writeRows(rows));
        },
        source,
        energy: () => this.energyOf(source()),
        changed: this.changed,
      }));
    }
    this.refresh();
  }

  adder(rows) {
    const id = `alloy-files-${this.node.id}`;
    const names = el("datalist", { id });
    const field = el("input", {
      type: "text", className: "alloy-file", placeholder: "Add a LoRA file ...", "aria-label": "add a LoRA file",
      onfocus: async () => {
        const found = await (files ??= api.fetchApi("/models/loras").then((answer) => answer.json()));
        names.replaceChildren(...found.map((value) => el("option", { value })));
      },
      onchange: async () => {
        if ((await files)?.includes(field.value)) this.write([...rows, plain(field.value)]);
      },
    });
    field.setAttribute("list", id);
    return el("div", { className: "alloy-row" }, field, names);
  }
}

export const forgetFiles = () => (files = undefined);
