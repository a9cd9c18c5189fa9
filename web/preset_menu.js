/** A menu of presets: take one, keep the text as one, forget one, and files of them. */

import { toast } from "./comfyui.js";
import { el } from "./elements.js";
import { asFile, fromFile, keep, presets } from "./presets.js";

/** @param {{get: () => string, set: (text: string) => void}} text */
export function presetMenu(text) {
  const menu = el("select", { className: "alloy-presets", title: "Presets: block weights under a name", "aria-label": "presets" });
  const fill = () => {
    const names = Object.keys(presets());
    const options = (label, entries) => entries.length > 0 && el("optgroup", { label }, ...entries.map(([value, name]) => el("option", { value }, name)));
    menu.replaceChildren(
      el("option", { value: "" }, "Presets"),
      ...[
        options("Take", names.map((name) => [`take ${name}`, name])),
        options("Forget", names.map((name) => [`drop ${name}`, name])),
        options("This browser", [["keep", "Keep the text as ..."], ["save", "Save all to a file"], ["open", "Read a file"]]),
      ].filter(Boolean),
    );
  };
  menu.onpointerdown = fill;
  menu.onfocus = fill;
  menu.onchange = () => {
    const [what, ...name] = menu.value.split(" ");
    menu.value = "";
    if (what === "take") text.set(presets()[name.join(" ")] ?? "");
    if (what === "drop") keep(name.join(" "), "");
    if (what === "keep") ask(text.get());
    if (what === "save") save();
    if (what === "open") open();
  };
  fill();
  return menu;
}

function ask(text) {
  if (!text.trim()) return toast("Presets", "There is no text to keep: move a slider first.", "warn");
  const name = window.prompt("Keep these block weights as")?.replace(/[[\]\r\n]/g, " ").trim();
  if (name) keep(name, text);
}

function save() {
  const href = URL.createObjectURL(new Blob([asFile()], { type: "text/plain" }));
  el("a", { href, download: "block-weights.txt" }).click();
  URL.revokeObjectURL(href);
}

function open() {
  const chooser = el("input", { type: "file", accept: ".txt,text/plain" });
  chooser.onchange = async () => {
    const count = fromFile((await chooser.files[0]?.text()) ?? "");
    toast("Presets", count ? `${count} presets read.` : "No preset in it: each stands below a heading [NAME].", count ? "success" : "warn");
  };
  chooser.click();
}
