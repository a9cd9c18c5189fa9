/**
 * The panel: a row for every block of a file, whatever its family, that edits a text.
 *
 * A row has a slider from -2 to 2 where the text is block weights, and a switch where it is a
 * selector. The text is the truth: whoever types in it sees the rows move, and nothing else is
 * saved. What it means is asked of the server, so that rows show what a run would do.
 */

import { Selection, Units, Weights, written } from "./block_text.js";
import { remember } from "./comfyui.js";
import { amount, button, el } from "./elements.js";
import { presetMenu } from "./preset_menu.js";
import { contentsOf, meaningOf } from "./server.js";

const [LOW, HIGH, STEP] = [-2, 2, 0.05];
/** Folded groups and open columns, by panel; the session's, not the workflow's. @type {Map<string, Set<string>>} */
const folded = new Map();
/** What was copied last, where the browser's clipboard is out of reach. */
let copied = "";

/** @typedef {import("./types").Block} Block */
/** @typedef {{blocks: Block[], names: string[], layers: string[], row: HTMLElement, track?: HTMLElement, number?: any, mute?: any, solo?: any, cells: any[]}} Row */

export class Panel {
  /**
   * @param {object} given
   * @param {"block_weights" | "layers"} given.kind
   * @param {string} given.key which panel it is, beyond the life of its node
   * @param {() => string} given.get
   * @param {(text: string) => void} given.set
   * @param {() => import("./types").Source | undefined} given.source
   * @param {() => Record<string, number>} [given.energy] {block: share}, of an analysis
   * @param {() => void} [given.changed] called when its height may have changed
   */
  constructor(given) {
    this.given = given;
    this.weighs = given.kind === "block_weights";
    this.element = el("div", { className: "alloy-panel" });
    /** @type {Row[]} */
    this.rows = [];
    /** @type {Map<string, number>} */
    this.values = new Map();
    /** What rows had before they were muted. @type {Map<string, number>} */
    this.muted = new Map();
    /** The text before one row was heard alone. @type {{name: string, text: string} | null} */
    this.solo = null;
    this.folded = folded.get(given.key) ?? new Set();
    folded.set(given.key, this.folded);
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

  /** Ask what the text means, and show it. */
  async read() {
    const text = this.given.get();
    if (!this.contents?.groups || !this.source) return;
    const turn = ++this.asked;
    const said = await meaningOf([this.source.name], this.given.kind, text);
    if (turn !== this.asked) return;
    this.say(said.error ?? said.notes?.join("\n") ?? "", !!said.error);
    if (said.error) return;
    this.values = this.weighs
      ? new Map(Object.entries(said.weights ?? {}).map(([layer, factors]) => [layer, factors[0]]))
      : this.left(new Set(said.selected));
    this.update();
  }

  say(text, wrong) {
    if (!this.message) return;
    this.message.textContent = text;
    this.message.className = wrong ? "alloy-error" : "alloy-note";
    this.given.changed?.();
  }

  /** {layer: 0} of those that are not chosen. @param {Set<string>} chosen */
  left(chosen) {
    const layers = this.rows.flatMap((row) => row.layers).filter((layer) => !chosen.has(layer));
    return new Map(layers.map((layer) => [layer, 0]));
  }

  build() {
    const { contents } = this;
    this.rows = [];
    if (!contents?.groups) {
      const text = contents?.error ?? "Connect a LoRA to see its blocks.";
      this.element.replaceChildren(el("div", { className: contents?.error ? "alloy-error" : "alloy-note" }, text));
      this.given.changed?.();
      return;
    }
    this.units = new Units(contents.groups);
    this.message = el("div", { className: "alloy-note" });
    this.list = el("div", { className: "alloy-list alloy-scroll" }, ...contents.groups.map((group) => this.group(group)));
    this.list.classList.toggle("alloy-wide", this.folded.has("columns"));
    if (this.weighs) this.listen(this.list);
    this.element.replaceChildren(this.tools(), this.list, this.message);
    this.given.changed?.();
  }

  tools() {
    const top = el("input", { type: "number", min: 1, value: 10, className: "alloy-count", title: "How many blocks are kept" });
    return el(
      "div",
      { className: "alloy-tools" },
      button("Reset", "Every block at its own strength: an empty text", () => this.write("")),
      this.weighs && button("Invert", "What is on goes off and the other way round: 1 minus each factor", () => this.each((value) => 1 - value)),
      button("Top", "Keep the strongest blocks and set the others to 0: by energy once this LoRA was analysed, until then by size", () => this.top(Number(top.value))),
      top,
      button("Copy", "Copy the text", () => this.copy()),
      button("Paste", "Replace the text by what was copied", () => this.paste()),
      this.weighs && button("Layers", "A column for every kind of layer", () => this.columns(), { "aria-pressed": this.folded.has("columns") }),
      this.weighs && presetMenu({ get: this.given.get, set: (text) => this.write(text) }),
    );
  }

  /** @param {import("./types").Group} group */
  group(group) {
    const head = this.row(group.blocks, group.name, "alloy-head");
    const rows = group.blocks.length > 1 || group.blocks[0].name !== group.name ? group.blocks.map((block) => this.row([block], shortName(block, group))) : [];
    const body = el("div", { className: "alloy-body", hidden: this.folded.has(group.name) }, ...rows);
    const fold = button(body.hidden ? "\u25b8" : "\u25be", "Fold or unfold", () => {
      body.hidden = !body.hidden;
      fold.textContent = body.hidden ? "\u25b8" : "\u25be";
      this.folded[body.hidden ? "add" : "delete"](group.name);
      this.given.changed?.();
    }, { className: "alloy-fold", "aria-label": `fold ${group.name}` });
    head.prepend(fold);
    return el("div", { className: "alloy-group" }, head, body);
  }

  /** A row for one block, or for all blocks of a group. @param {Block[]} blocks */
  row(blocks, label, kind = "") {
    const element = el("div", { className: `alloy-row ${kind}` });
    const size = blocks.reduce((sum, block) => sum + block.parameters, 0);
    const layers = blocks.flatMap((block) => block.layers.map(([end]) => (block.pattern ?? block.name) + end));
    const names = blocks.flatMap((block) => block.pattern ?? []);
    /** @type {Row} */
    const row = { blocks, names, layers, row: element, cells: [] };
    const count = blocks.length > 1 ? `${blocks.length} blocks, ` : "";
    const title = `${blocks.length > 1 ? label : blocks[0].name}: ${count}${layers.length} layers, ${amount(size)} parameters`;
    const what = blocks.length > 1 ? `all of ${label}` : blocks[0].name;
    element.append(el("span", { className: "alloy-name", title }, label));
    const index = this.rows.push(row) - 1;
    element.dataset.row = String(index);
    if (!names.length) {
      element.append(el("span", { className: "alloy-note" }, "its name cannot stand in a text"));
    } else if (this.weighs) {
      row.track = el("div", {
        className: "alloy-track", role: "slider", tabIndex: 0, title,
        "aria-label": what, "aria-valuemin": LOW, "aria-valuemax": HIGH,
        onkeydown: (event) => this.key(row, event),
        ondblclick: () => this.change([row], 1),
      }, el("div", { className: "alloy-fill" }));
      row.number = el("input", {
        type: "number", step: STEP, className: "alloy-number", "aria-label": `factor of ${what}`,
        onchange: () => row.number.value !== "" && this.change([row], Number(row.number.value)),
      });
      row.mute = button("M", "Mute: 0, and back again", () => this.mute(row));
      row.solo = button("S", "Solo: all others to 0, and back again", () => this.alone(row));
      element.append(row.track, row.number, row.mute, row.solo,
        button("\u00b1", "Change the sign", () => this.each((value) => -value, [row])), this.cells(row));
    } else {
      row.number = el("input", { type: "checkbox", "aria-label": what, onchange: () => this.choose([row], row.number.checked) });
      element.prepend(row.number);
      element.append(el("span", { className: "alloy-size" }, amount(size)));
    }
    return element;
  }

  /** A number for every kind of layer of a block. */
  cells(row) {
    const kinds = [...new Set(row.blocks.flatMap((block) => block.layers.map(([, kind]) => kind)))];
    const cells = kinds.map((kind) => {
      const names = row.blocks.flatMap((block) =>
        block.layers.filter((layer) => layer[1] === kind && block.pattern).map(([end]) => block.pattern + end));
      const number = el("input", {
        type: "number", step: STEP, className: "alloy-number", "aria-label": `${kind} of ${row.blocks[0].name}`,
        onchange: () => number.value !== "" && this.put(names.map((name) => [name, Number(number.value)])),
      });
      row.cells.push({ number, names });
      return el("label", { className: "alloy-cell", title: `${kind}: ${names.length} layers` }, kind.replace("attention", "attn"), number);
    });
    return el("div", { className: "alloy-cells" }, ...cells);
  }

  // -- showing -------------------------------------------------------------------------------

  /** What these layers have: one factor, or the mean where they differ. */
  value(layers) {
    const found = layers.map((layer) => this.values.get(layer) ?? 1);
    const mean = found.reduce((sum, one) => sum + one, 0) / (found.length || 1);
    return { mean, mixed: found.some((one) => one !== found[0]) };
  }

  update() {
    const energy = this.given.energy?.() ?? {};
    const most = Math.max(...Object.values(energy), 0);
    for (const row of this.rows) {
      const { mean, mixed } = this.value(row.layers);
      const share = row.blocks.length === 1 ? energy[row.blocks[0].name] : undefined;
      row.row.classList.toggle("alloy-mixed", mixed);
      row.row.classList.toggle("alloy-off", mean === 0 && !mixed);
      if (share !== undefined) {
        row.row.style.setProperty("--strength", `${Math.round((100 * share) / (most || 1))}%`);
        row.row.dataset.energy = `${(100 * share).toPrecision(2)} %`;
      }
      if (!this.weighs && row.number) {
        row.number.checked = mean === 1;
        row.number.indeterminate = mixed;
      } else if (row.track) {
        place(row.track, mean, mixed);
        if (row.number !== document.activeElement) row.number.value = mixed ? "" : written(mean);
        row.number.placeholder = mixed ? "mixed" : "";
        row.mute.setAttribute("aria-pressed", String(mean === 0 && !mixed));
        row.solo.setAttribute("aria-pressed", String(this.solo?.name === row.names.join()));
        for (const { number, names } of row.cells) {
          const cell = this.value(names);
          if (number !== document.activeElement) number.value = cell.mixed ? "" : written(cell.mean);
          number.placeholder = cell.mixed ? "mixed" : "";
        }
      }
    }
  }

  columns() {
    const on = !this.folded.has("columns");
    this.folded[on ? "add" : "delete"]("columns");
    this.build();
    this.update();
  }

  // -- changing ------------------------------------------------------------------------------

  /** Write the text; the rows follow it. */
  write(text, done = true) {
    if (text !== this.given.get()) this.given.set(text);
    if (!done) return;
    remember();
    this.read();
  }

  /** Give blocks or layers, by their names, these factors. @param {[string, number][]} pairs */
  put(pairs, done = true) {
    const weights = new Weights(this.given.get(), this.units);
    for (const [name, value] of pairs) {
      weights.set(name, value);
      for (const layer of this.units.blocks.get(name) ?? []) this.values.set(layer, value);
      this.values.set(name, value);
    }
    this.asked += 1; // Answers on their way are of an older text.
    this.update();
    this.write(weights.text(), done);
  }

  change(rows, value, done = true) {
    this.put(rows.flatMap((row) => row.names.map((name) => /** @type {[string, number]} */ ([name, value]))), done);
  }

  /** Apply a function to the factor of every block. */
  each(change, rows = this.rows.filter((row) => row.blocks.length === 1)) {
    this.put(rows.flatMap((row) => row.blocks).filter((block) => block.pattern).map((block) => {
      const { mean } = this.value(block.layers.map(([end]) => block.pattern + end));
      return [String(block.pattern), Number(change(mean).toFixed(4))];
    }));
  }

  choose(rows, on) {
    const selection = new Selection(this.given.get(), this.units);
    for (const name of rows.flatMap((row) => row.names)) selection.set(name, on);
    this.write(selection.text());
  }

  mute(row) {
    const { mean, mixed } = this.value(row.layers);
    const key = row.names.join();
    if (mean === 0 && !mixed) return this.change([row], this.muted.get(key) || 1);
    this.muted.set(key, mixed ? 1 : mean);
    this.change([row], 0);
  }

  alone(row) {
    const name = row.names.join();
    const text = this.solo?.text ?? this.given.get();
    if (this.solo?.name === name) {
      this.solo = null;
      return this.write(text);
    }
    this.solo = { name, text };
    const weights = new Weights(text, this.units);
    for (const block of this.units.blocks.keys()) if (!row.names.includes(block)) weights.set(block, 0);
    this.write(weights.text());
  }

  /** Keep the so many strongest blocks. */
  top(count) {
    const energy = this.given.energy?.() ?? {};
    const strength = (block) => energy[block.name] ?? block.parameters * 1e-30;
    const blocks = this.rows.filter((row) => row.blocks.length === 1 && row.names.length).map((row) => row.blocks[0]);
    const kept = new Set([...blocks].sort((a, b) => strength(b) - strength(a)).slice(0, Math.max(1, count)));
    if (this.weighs) {
      this.put(blocks.map((block) => [String(block.pattern), kept.has(block) ? this.value(block.layers.map(([end]) => block.pattern + end)).mean || 1 : 0]));
    } else {
      this.write(this.units.compress([...kept].map((block) => String(block.pattern))).join(", "));
    }
  }

  copy() {
    copied = this.given.get();
    navigator.clipboard?.writeText(copied).catch(() => {});
  }

  async paste() {
    const text = await Promise.resolve(navigator.clipboard?.readText()).catch(() => undefined);
    this.write(text || copied);
  }

  /** Arrows, home and end on a slider. */
  key(row, event) {
    const { mean } = this.value(row.layers);
    const step = event.shiftKey ? 0.5 : STEP;
    const to = { ArrowLeft: mean - step, ArrowDown: mean - step, ArrowRight: mean + step, ArrowUp: mean + step,
      Home: LOW, End: HIGH, Delete: 1, Backspace: 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.change([row], Number(Math.min(HIGH, Math.max(LOW, to)).toFixed(4)));
  }

  /** Drag along a slider, and across the rows below it. */
  listen(list) {
    let dragging = false;
    const drag = (event) => {
      const under = document.elementFromPoint(event.clientX, event.clientY)?.closest?.(".alloy-row");
      const row = under && list.contains(under) ? this.rows[Number(under.dataset.row)] : undefined;
      if (!row?.track) return;
      const box = row.track.getBoundingClientRect();
      const fine = event.shiftKey ? 0.01 : STEP;
      const at = LOW + ((event.clientX - box.left) / box.width) * (HIGH - LOW);
      const value = Math.min(HIGH, Math.max(LOW, Math.round(at / fine) * fine));
      this.change([row], Number(value.toFixed(4)), false);
    };
    list.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.target.closest(".alloy-track")) return;
      dragging = true;
      list.setPointerCapture(event.pointerId);
      event.target.closest(".alloy-track").focus();
      event.preventDefault();
      drag(event);
    });
    list.addEventListener("pointermove", (event) => dragging && drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      list.addEventListener(end, () => {
        if (dragging) this.write(this.given.get());
        dragging = false;
      });
    }
  }
}

/** Draw a slider: from 0 to its value. */
function place(track, value, mixed) {
  const at = (one) => (100 * (Math.min(HIGH, Math.max(LOW, one)) - LOW)) / (HIGH - LOW);
  const [from, to] = [at(0), at(value)].sort((a, b) => a - b);
  track.firstChild.style.left = `${from}%`;
  track.firstChild.style.width = `${Math.max(to - from, 1)}%`;
  track.setAttribute("aria-valuenow", written(value));
  track.setAttribute("aria-valuetext", mixed ? `mixed, ${written(value)} on average` : written(value));
}

/** `3` of `double_blocks.3` below a heading that says the rest. */
function shortName(block, group) {
  return block.name.startsWith(`${group.name}.`) ? block.name.slice(group.name.length + 1) : block.name;
}
