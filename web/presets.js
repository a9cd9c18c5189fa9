/**
 * Block weights under a name: kept by this browser, and in files that the command line reads too
 * (`--block-weights @FILE:NAME`), with a heading `[NAME]` above the lines of each.
 */

const KEY = "lora-alloy.presets";

/** @returns {Record<string, string>} {name: text} */
export function presets() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return Object.fromEntries(Object.entries(found).filter(([, text]) => typeof text === "string"));
  } catch {
    return {};
  }
}

/** Keep a text under a name; an empty one forgets the name. */
export function keep(name, text) {
  const { [name]: _, ...others } = presets();
  localStorage.setItem(KEY, JSON.stringify(text ? { ...others, [name]: text } : others));
}

/** All presets as the text of a file. */
export const asFile = () =>
  Object.entries(presets()).map(([name, text]) => `[${name}]\n${text}\n`).join("\n");

/** Keep what the text of such a file has, and say how many. @param {string} text */
export function fromFile(text) {
  const parts = text.replace(/\r/g, "").split(/^\[(.*)\]\s*$/m).slice(1);
  let count = 0;
  for (let i = 0; i + 1 < parts.length; i += 2) {
    const name = parts[i].trim();
    const lines = parts[i + 1].trim();
    if (name && lines) {
      keep(name, lines);
      count += 1;
    }
  }
  return count;
}
