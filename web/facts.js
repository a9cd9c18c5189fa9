/** What is in a file, as a card on its loader: before anything runs. */

import { toast } from "./comfyui.js";
import { amount, counted, el, megabytes } from "./elements.js";
import { previewOf } from "./server.js";

/**
 * @param {import("./types").Contents} contents
 * @param {import("./types").Source} source
 * @param {Record<string, number>} energy {block: share}, empty before an analysis
 */
export function card(contents, source, energy) {
  if (contents.error) return el("div", { className: "alloy-error" }, contents.error);
  const { modules, parameters } = contents;
  const facts = [
    ["model", contents.recognised],
    ["modules", `${modules}, ${amount(parameters)} parameters`],
    ["kinds", counted(contents.kinds)],
    ["ranks", counted(contents.ranks)],
    ["numbers", `${counted(contents.dtypes)}, ${megabytes(contents.bytes)}`],
  ];
  return el(
    "div",
    { className: "alloy-card" },
    contents.preview && el("img", { src: previewOf(source), alt: "", className: "alloy-preview" }),
    contents.title && el("div", { className: "alloy-title" }, contents.title),
    el("dl", {}, ...facts.flatMap(([label, text]) => [el("dt", {}, label), el("dd", {}, text)])),
    words(contents.trigger_words),
    ...contents.untouched.map((kind) =>
      el("div", { className: "alloy-warning" },
        `${kind.modules} of ${modules} modules are ${kind.kind}: ${kind.reason}. No node can change them`
        + `${kind.way_out ? `; ${kind.way_out}` : ""}.`)),
    ...contents.notes.map((note) => el("div", { className: "alloy-note" }, note)),
    ...contents.groups.map((group) => bars(group, energy)),
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

/** A bar for every block: its energy once that is known, its size until then. */
function bars(group, energy) {
  const known = group.blocks.some((block) => block.name in energy);
  const height = (block) => (known ? (energy[block.name] ?? 0) : block.parameters);
  const most = Math.max(...group.blocks.map(height)) || 1;
  const size = group.blocks.reduce((sum, block) => sum + block.parameters, 0);
  const label = `${group.name}: ${group.blocks.length}, ${amount(size)} parameters`;
  return el(
    "figure",
    { className: known ? "alloy-bars alloy-known" : "alloy-bars" },
    el("figcaption", {}, label),
    el("div", {}, ...group.blocks.map((block) => {
      const share = energy[block.name];
      const measured = share === undefined ? "" : `, ${(100 * share).toPrecision(2)} % of the energy`;
      const title = `${block.name}: ${amount(block.parameters)} parameters${measured}`;
      return el("i", { title, style: { height: `${Math.max(3, (100 * height(block)) / most)}%` } });
    })),
  );
}
