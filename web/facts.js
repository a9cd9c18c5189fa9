/** What is in a file, as a card on its loader: before anything runs. */

import { toast } from "./comfyui.js";
import { amount, el, note } from "./elements.js";
import { previewOf } from "./server.js";

/** @param {import("./types").Contents} contents @param {import("./types").Source} source */
export function card(contents, source, energy) {
  if (contents.error) return note(contents.error, true);
  const { preview, title, facts, warnings, notes, groups } = contents;
  return el("div", { className: "alloy-card" },
    preview && el("img", { src: previewOf(source), alt: "", className: "alloy-preview" }),
    title && el("div", { className: "alloy-title" }, title),
    el("dl", {}, ...facts.flatMap(([label, text]) => [el("dt", {}, label), el("dd", {}, text)])),
    words(contents.trigger_words),
    ...warnings.map((text) => el("div", { className: "alloy-warning" }, text)),
    ...notes.map((text) => note(text)),
    ...groups.map((group) => groupBars(group, energy)),
  );
}

/** Trigger words, each a button that copies it. @param {string[]} found */
function words(found) {
  if (!found.length) return null;
  const copy = (word) => async () => {
    try {
      await navigator.clipboard.writeText(word);
      toast("Copied", word, "success");
    } catch {
      toast("Not copied", "This browser keeps its clipboard to pages with https.", "warn");
    }
  };
  return el("div", { className: "alloy-words", title: "Trigger words: click one to copy it" },
    ...found.map((word) => el("button", { type: "button", onclick: copy(word) }, word)));
}

/** A bar for every block of a group: its energy once that is known, its size until then. */
function groupBars(group, energy) {
  const known = group.blocks.some((block) => block.name in energy);
  return figure(`${group.name}: ${group.blocks.length}, ${amount(group.parameters)} parameters`, known, group.blocks.map((block) => {
    const share = energy[block.name];
    const measured = share === undefined ? "" : `, ${percent(share)} of the energy`;
    const height = known ? (share ?? 0) : block.parameters;
    return { height, title: `${block.name}: ${amount(block.parameters)} parameters${measured}` };
  }));
}

/** The energy of all blocks, as a chart whose bars can be clicked. */
export function bars(energy, toggle) {
  const entries = Object.entries(energy).map(([name, height]) =>
    ({ height, title: `${name}: ${percent(height)} of the energy`, onclick: () => toggle(name) }));
  return figure(`energy of ${entries.length} blocks`, true, entries);
}

const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;

function figure(label, known, entries) {
  const most = Math.max(...entries.map((entry) => entry.height)) || 1;
  return el("figure", { className: known ? "alloy-bars alloy-known" : "alloy-bars" },
    el("figcaption", {}, label),
    el("div", {}, ...entries.map(({ height, ...given }) =>
      el("i", { ...given, style: { height: `${Math.max(3, (100 * height) / most)}%` } }))));
}
