/** Tables as tables: sorted by a click on a head, grouped, with the technical names as tooltips. */

import { button, el } from "./elements.js";

/** How tables are sorted and what is unfolded. @type {Map<string, any>} */
const states = new Map();

/**
 * `key` is which table it is, beyond the life of its node; `toggle` is called with a block that was
 * clicked, `changed` where its height may be another one. @param {import("./types").Table} table
 */
export function tableOf(table, key, toggle, changed) {
  const state = states.get(key) ?? { by: -1, down: true, open: new Set() };
  states.set(key, state);
  const sorted = (rows, cells) => (state.by < 0 ? rows : [...rows].sort((a, b) => {
    const [x, y] = [cells(a)[state.by], cells(b)[state.by]];
    const order = typeof x === "number" && typeof y === "number" ? x - y
      : Number(x != null) - Number(y != null) || String(x).localeCompare(String(y), "en", { numeric: true });
    return state.down ? -order : order;
  }));
  const line = (cells, name, given = {}) => el("tr", given,
    ...cells.map((cell, i) => el("td", {}, i ? shown(cell) : name ?? shown(cell))));
  const draw = () => {
    const heads = table.columns.map(([label, technical], i) => el("th", {
      title: technical, tabIndex: 0, "aria-sort": i !== state.by ? "none" : state.down ? "descending" : "ascending",
      onclick: () => sort(i), onkeydown: (event) => event.key === "Enter" && sort(i),
    }, label));
    const lines = sorted(table.groups, (group) => group.cells).flatMap((group) => {
      const { cells, rows = [], block } = group;
      const name = String(cells[0]);
      const open = state.open.has(name);
      const fold = () => {
        if (!state.open.delete(name)) state.open.add(name);
        draw();
      };
      const label = el("span", { className: "alloy-words" },
        rows.length > 0 && button(open ? "\u25be" : "\u25b8", "Fold or unfold", fold, { className: "alloy-fold" }),
        block ? button(name, `Switch ${block} in the panels of this LoRA`, () => toggle(block), { className: "alloy-link" }) : name);
      return [line(cells, label), ...(open ? sorted(rows, (row) => row).map((row) => line(row, undefined, { className: "alloy-inner" })) : [])];
    });
    element.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...lines)));
    changed();
  };
  const sort = (i) => {
    state.down = state.by === i ? !state.down : i > 0;
    state.by = i;
    draw();
  };
  const element = el("div", { className: "alloy-scroll alloy-list" });
  draw();
  return element;
}

/** Four digits say enough; nothing is a dash. */
const shown = (cell) => (cell == null ? "-" : typeof cell === "number" ? String(Number(cell.toPrecision(4))) : cell);
