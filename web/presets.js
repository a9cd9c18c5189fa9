/** Block weights under a name: in this browser, and in files as the command line reads them (@FILE:NAME). */

import { toast } from "./comfyui.js";
import { el } from "./elements.js";

const KEY = "lora-alloy.presets";

/** @returns {Record<string, string>} */
export function presets() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return Object.fromEntries(Object.entries(found).filter(([, text]) => typeof text === "string"));
  } catch {
    return {};
  }
}

/** Keep a text; an empty one forgets the name. */
export function keep(name, text) {
  const { [name]: _, ...others } = presets();
  localStorage.setItem(KEY, JSON.stringify(text ? { ...others, [name]: text } : others));
}

/** All presets as the text of a file. */
export const asFile = () =>
  Object.entries(presets()).map(([name, text]) => `[${name}]\n${text}\n`).join("\n");

/** Keep what the text of such a file has, and say how many. @param {string} text */
export function fromFile(text) {
  const parts = text.replace(/\r/g, "").split(/^\[(.*)\]\s*$/m).slice(1).map((part) => part.trim());
  const found = parts.flatMap((name, i) => (i % 2 || !name || !parts[i + 1] ? [] : [[name, parts[i + 1]]]));
  for (const [name, lines] of found) keep(name, lines);
  return found.length;
}

/** A menu of presets for a text. @param {{get: () => string, set: (text: string) => void}} text */
export function presetMenu(text) {
  const commands = {
    take: (name) => text.set(presets()[name] ?? ""),
    forget: (name) => keep(name, ""),
    keep() {
      const name = text.get().trim() && window.prompt("Keep these block weights as")?.replace(/[[\]\r\n]/g, " ").trim();
      if (name) keep(name, text.get());
      else if (name === "") toast("Presets", "There is no text to keep.", "warn");
    },
    save() {
      const href = URL.createObjectURL(new Blob([asFile()], { type: "text/plain" }));
      el("a", { href, download: "block-weights.txt" }).click();
      URL.revokeObjectURL(href);
    },
    open() {
      const chooser = el("input", { type: "file", accept: ".txt,text/plain" });
      chooser.onchange = async () => {
        const count = fromFile((await chooser.files[0]?.text()) ?? "");
        toast("Presets", `${count} presets read`, count ? "success" : "warn");
      };
      chooser.click();
    },
  };
  const menu = el("select", { className: "alloy-presets", title: "Block weights under a name", "aria-label": "presets" });
  const entries = (label, command) =>
    Object.keys(presets()).map((name) => el("option", { value: `${command} ${name}` }, `${label} ${name}`));
  menu.onpointerdown = menu.onfocus = () => menu.replaceChildren(
    el("option", { value: "" }, "Presets"),
    ...entries("", "take"),
    el("option", { value: "keep" }, "Keep the text as ..."),
    el("option", { value: "save" }, "Save all to a file"),
    el("option", { value: "open" }, "Read a file ..."),
    ...entries("Forget", "forget"),
  );
  menu.onchange = () => {
    const [command, ...name] = menu.value.split(" ");
    menu.value = "";
    commands[command]?.(name.join(" "));
  };
  menu.onfocus(new FocusEvent("focus"));
  return menu;
}
