/**
 * The panel: a row for every block of a file, with a slider where it edits block weights and a switch
 * where it edits a selector. The text is all that is saved, and what it means the server says.
 */

import { Selection, Units, Weights, written } from "./block_text.js";
import { remember } from "./comfyui.js";
import { amount, button, el, note, numberField } from "./elements.js";
import { presetMenu } from "./presets.js";
import { contentsOf, meaningOf } from "./server.js";

const [LOW, HIGH, STEP] = [-2, 2, 0.05];
const within = (value) => Number(Math.min(HIGH, Math.max(LOW, value)).toFixed(4));
/** What is folded, by panel: the session's, not the workflow's. @type {Map<string, Set<string>>} */
const folds = new Map();
/** What was copied, where the browser's clipboard is out of reach. */
let copied = "";

/** @typedef {import("./types").Block} Block */
/** @typedef {import("./types").PanelRow} Row */

export class Panel {
  /** @param {import("./types").PanelOptions} given */
  constructor(given) {
    this.given = given;
    this.weighs = given.kind === "block_weights";
    this.element = el("div", { className: "alloy-panel" });
    /** @type {Row[]} */
    this.rows = [];
    /** Layer -> its factor, where that is not 1. @type {Map<string, number>} */
    this.values = new Map();
    /** Row -> its factor before it was muted. @type {Map<Row, number>} */
    this.muted = new Map();
    /** The row that is heard alone, and the text before. @type {{name: string, text: string} | null} */
    this.solo = null;
    this.open = new Set();
    this.units = new Units([]);
    this.asked = 0;
    this.refresh();
  }

  /** The file or the text may be another one. */
  async refresh() {
    const source = this.given.source();
    const name = JSON.stringify(source ?? null);
    if (name !== this.name) {
      this.name = name;
      const found = source && (await contentsOf(source));
      if (this.name !== name) return; // Meanwhile it is another one again.
      this.source = source;
      this.contents = found;
      this.build();
    }
    await this.read();
  }

  async read() {
    if (!this.contents?.groups || !this.source) return;
    const turn = ++this.asked;
    const said = await meaningOf([this.source.name], this.given.kind, this.given.get());
    if (turn !== this.asked) return;
    this.message.textContent = said.error ?? said.notes?.join("\n") ?? "";
    this.message.className = said.error ? "alloy-error" : "alloy-note";
    this.given.changed();
    if (said.error) return;
    const chosen = new Set(this.given.none && !this.given.get().trim() ? [] : said.selected);
    const left = this.rows.flatMap((row) => row.layers).filter((layer) => !chosen.has(layer));
    this.values = new Map(this.weighs
      ? Object.entries(said.weights ?? {}).map(([layer, [factor]]) => [layer, factor])
      : left.map((layer) => [layer, 0]));
    this.update();
  }

  build() {
    const { contents } = this;
    this.rows = [];
    this.message = note("");
    if (!contents?.groups) {
      this.element.replaceChildren(note(contents?.error ?? "Connect a LoRA to see its blocks.", !!contents?.error));
    } else {
      this.units = new Units(contents.groups);
      const key = this.given.key();
      folds.set(key, (this.open = folds.get(key) ?? this.open));
      const list = el("div", { className: "alloy-list alloy-scroll" }, ...contents.groups.map((group) => this.group(group)));
      list.classList.toggle("alloy-wide", this.open.has("columns"));
      if (this.weighs) this.listen(list);
      this.element.replaceChildren(this.tools(), list, this.message);
    }
    this.given.changed();
  }

  tools() {
    const top = el("input", { type: "number", min: 1, value: 10, className: "alloy-count", title: "How many are kept" });
    const text = { get: this.given.get, set: (one) => this.write(one) };
    return el("div", { className: "alloy-tools" },
      button("Reset", "Every block at 1", () => this.write("")),
      this.weighs && button("Invert", "Swap on and off", () => this.each((value) => 1 - value)),
      button("Top", "Keep the strongest blocks, by energy or, before an analysis, by size", () => this.top(Number(top.value))),
      top,
      button("Copy", "Copy the text", () => {
        copied = text.get();
        navigator.clipboard?.writeText(copied).catch(() => {});
      }),
      button("Paste", "Put in what was copied", async () =>
        text.set((await navigator.clipboard?.readText().catch(() => "")) || copied)),
      this.weighs && button("Layers", "Every kind of layer", () => {
        this.fold("columns");
        this.build();
        this.update();
      }, { "aria-pressed": this.open.has("columns") }),
      this.weighs && presetMenu(text),
    );
  }

  fold(name) {
    if (!this.open.delete(name)) this.open.add(name);
    return this.open.has(name);
  }

  /** @param {import("./types").Group} group */
  group({ name, blocks }) {
    const head = this.row(blocks, name, "alloy-head");
    const single = blocks.length === 1 && blocks[0].name === name;
    const rows = blocks.map((block) => this.row([block], block.name.startsWith(`${name}.`) ? block.name.slice(name.length + 1) : block.name));
    const body = el("div", { className: "alloy-body", hidden: single || this.open.has(name) }, ...rows);
    const sign = () => (body.hidden ? "\u25b8" : "\u25be");
    const fold = button(sign(), "Fold or unfold", () => {
      body.hidden = this.fold(name);
      fold.textContent = sign();
      this.given.changed();
    }, { className: "alloy-fold", "aria-label": `fold ${name}`, disabled: single });
    head.prepend(fold);
    return el("div", {}, head, body);
  }

  /** A row for one block, or for all of a group. @param {Block[]} blocks */
  row(blocks, label, kind = "") {
    const size = amount(blocks.reduce((sum, block) => sum + block.parameters, 0));
    const layers = blocks.flatMap((block) => block.layers.map(([end]) => (block.pattern ?? block.name) + end));
    const names = blocks.flatMap((block) => block.pattern ?? []);
    const what = kind ? `all of ${label}` : blocks[0].name;
    const title = `${what}: ${layers.length} layers, ${size} parameters`;
    const element = el("div", { className: `alloy-row ${kind}` }, el("span", { className: "alloy-name", title }, label));
    /** @type {Row} */
    const row = { blocks, names, layers, row: element, cells: [] };
    element.dataset.row = String(this.rows.push(row) - 1);
    if (!names.length) {
      element.append(note("its name cannot stand in a text"));
    } else if (this.weighs) {
      row.track = el("div", {
        className: "alloy-track", role: "slider", tabIndex: 0, title,
        "aria-label": what, "aria-valuemin": LOW, "aria-valuemax": HIGH,
        onkeydown: (event) => this.key(row, event),
        ondblclick: () => this.put(names, 1),
      }, el("div", { className: "alloy-fill" }));
      row.number = numberField(`factor of ${what}`, (value) => this.put(row.names, value));
      row.mute = button("M", "Mute, and back", () => this.mute(row));
      row.solo = button("S", "Solo, and back", () => this.alone(row));
      const turn = button("\u00b1", "The other sign", () => this.each((value) => -value, names));
      element.append(row.track, row.number, row.mute, row.solo, turn);
      if (!kind) element.append(this.cells(row));
    } else {
      const onchange = () => this.choose(names, row.number.checked);
      row.number = el("input", { type: "checkbox", "aria-label": what, onchange });
      element.prepend(row.number);
      element.append(el("span", { className: "alloy-note" }, size));
    }
    return element;
  }

  cells(row) {
    const [{ name, pattern, layers }] = row.blocks;
    const cells = [...new Set(layers.map(([, kind]) => kind))].map((kind) => {
      const names = layers.filter((layer) => layer[1] === kind).map(([end]) => pattern + end);
      const number = numberField(`${kind} of ${name}`, (value) => this.put(names, value));
      row.cells.push({ number, names });
      return el("label", { className: "alloy-cell", title: `${kind}: ${names.length} layers` }, kind.replace("attention", "attn"), number);
    });
    return el("div", { className: "alloy-cells" }, ...cells);
  }

  /** The factor of layers, or the mean where they differ. */
  value(layers) {
    const found = layers.map((layer) => this.values.get(layer) ?? 1);
    const mean = found.reduce((sum, one) => sum + one, 0) / (found.length || 1);
    return { mean, mixed: found.some((one) => one !== found[0]) };
  }

  update() {
    const energy = this.given.energy();
    const most = Math.max(...Object.values(energy), 0) || 1;
    const fill = (field, { mean, mixed }) => {
      if (field !== document.activeElement) field.value = mixed ? "" : written(mean);
      field.placeholder = mixed ? "mixed" : "";
    };
    for (const row of this.rows) {
      const value = this.value(row.layers);
      const { mean, mixed } = value;
      const off = mean === 0 && !mixed;
      row.row.classList.toggle("alloy-mixed", mixed);
      row.row.classList.toggle("alloy-off", off);
      const share = energy[row.blocks[0].name] ?? 0;
      if (row.cells.length) row.row.style.setProperty("--strength", `${Math.round((100 * share) / most)}%`);
      if (row.track) {
        place(row.track, mean, mixed);
        fill(row.number, value);
        row.mute.setAttribute("aria-pressed", off);
        row.solo.setAttribute("aria-pressed", this.solo?.name === row.names.join());
        for (const cell of row.cells) fill(cell.number, this.value(cell.names));
      } else if (row.number) {
        row.number.checked = mean === 1;
        row.number.indeterminate = mixed;
      }
    }
  }

  write(text, done = true) {
    if (text !== this.given.get()) this.given.set(text);
    if (!done) return;
    remember();
    this.read();
  }

  /** Give blocks or layers, by their names, a factor, or what a function says of each. */
  put(names, value, done = true) {
    const weights = new Weights(this.given.get(), this.units);
    for (const name of names) {
      const factor = typeof value === "number" ? value : Number(value(name).toFixed(4));
      weights.set(name, factor);
      for (const layer of this.units.blocks.get(name) ?? [name]) this.values.set(layer, factor);
    }
    this.asked += 1; // Answers on their way are of an older text.
    this.update();
    this.write(weights.text(), done);
  }

  /** Apply a function to the factor of every block. @param {Iterable<string>} names */
  each(change, names = this.units.blocks.keys()) {
    this.put([...names], (name) => change(this.value(this.units.blocks.get(name)).mean));
  }

  choose(names, on) {
    const selection = new Selection(this.given.get(), this.units, this.given.none);
    for (const name of names) selection.set(name, on);
    this.write(selection.text());
  }

  /** Switch a block on or off, by its name. */
  toggle(name) {
    const row = this.rows.find((one) => one.cells.length + Number(!this.weighs) && one.blocks[0].name === name);
    if (!row) return;
    if (this.weighs) this.mute(row);
    else this.choose(row.names, this.value(row.layers).mean !== 1);
  }

  mute(row) {
    const { mean, mixed } = this.value(row.layers);
    const off = mean === 0 && !mixed;
    if (!off) this.muted.set(row, mixed ? 1 : mean);
    this.put(row.names, off ? (this.muted.get(row) ?? 1) : 0);
  }

  alone(row) {
    const name = row.names.join();
    const text = this.solo?.text ?? this.given.get();
    const again = this.solo?.name === name;
    this.solo = again ? null : { name, text };
    const weights = new Weights(text, this.units);
    for (const block of again ? [] : this.units.blocks.keys()) if (!row.names.includes(block)) weights.set(block, 0);
    this.write(again ? text : weights.text());
  }

  top(count) {
    const energy = this.given.energy();
    const strength = ({ name, parameters }) => energy[name] ?? parameters * 1e-30;
    const blocks = (this.contents?.groups ?? []).flatMap((group) => group.blocks).sort((a, b) => strength(b) - strength(a));
    const names = blocks.flatMap((block) => block.pattern ?? []).slice(0, Math.max(1, count));
    if (this.weighs) this.put([...this.units.blocks.keys()], (name) => Number(names.includes(name)));
    else this.write(this.units.compress(names).join(", "));
  }

  key(row, event) {
    const { mean } = this.value(row.layers);
    const step = event.shiftKey ? 0.5 : STEP;
    const to = { ArrowLeft: mean - step, ArrowDown: mean - step, ArrowRight: mean + step, ArrowUp: mean + step,
      Home: LOW, End: HIGH, Delete: 1, Backspace: 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.put(row.names, within(to));
  }

  /** Drag along a slider, and across the rows below it. */
  listen(list) {
    let dragging = false;
    const drag = (event) => {
      /** @type {any} */
      const under = document.elementFromPoint(event.clientX, event.clientY)?.closest(".alloy-row");
      const row = list.contains(under) && this.rows[under?.dataset.row];
      if (!row || !row.track) return;
      const { left, width } = row.track.getBoundingClientRect();
      const fine = event.shiftKey ? 0.01 : STEP;
      const at = LOW + ((event.clientX - left) / width) * (HIGH - LOW);
      this.put(row.names, within(Math.round(at / fine) * fine), false);
    };
    list.onpointerdown = (event) => {
      const track = event.target.closest(".alloy-track");
      if (event.button !== 0 || !track) return;
      dragging = true;
      list.setPointerCapture(event.pointerId);
      track.focus();
      event.preventDefault();
      drag(event);
    };
    list.onpointermove = (event) => dragging && drag(event);
    list.onpointerup = list.onpointercancel = () => {
      if (dragging) this.write(this.given.get());
      dragging = false;
    };
  }
}

/** Draw a slider: from 0 to its value. */
function place(track, value, mixed) {
  const at = (one) => (100 * (within(one) - LOW)) / (HIGH - LOW);
  const [from, to] = [at(0), at(value)].sort((a, b) => a - b);
  track.firstChild.style.left = `${from}%`;
  track.firstChild.style.width = `${Math.max(to - from, 1)}%`;
  track.setAttribute("aria-valuenow", written(value));
  track.setAttribute("aria-valuetext", mixed ? `mixed, ${written(value)} on average` : written(value));
}
