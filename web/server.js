/** What this pack's routes on ComfyUI's server answer; see nodes/routes.py. */

import { api } from "./comfyui.js";

/** @typedef {import("./types").Source} Source */

/** Files that were shown lately, by address. @type {Map<string, Promise<any>>} */
const answers = new Map();

const addressOf = (route, source) => `/lora-alloy/${route}?${new URLSearchParams(/** @type {any} */ (source))}`;

/** What is in a file; `again` asks anew. @param {Source} source @param {boolean} [again] @returns {Promise<import("./types").Contents>} */
export function contentsOf(source, again = false) {
  const address = addressOf("lora", source);
  let answer = again ? undefined : answers.get(address);
  if (!answer) {
    answer = read(address);
    answers.set(address, answer);
    if (answers.size > 64) answers.delete(answers.keys().next().value ?? "");
  }
  return answer;
}

/** The address of the picture beside a file. @param {Source} source */
export const previewOf = (source) => api.apiURL(addressOf("preview", { name: source.name }));

/** What a text means for these files. @returns {Promise<import("./types").Meaning>} */
export const meaningOf = (loras, kind, text) =>
  read("/lora-alloy/meaning", { method: "POST", body: JSON.stringify({ loras, [kind]: text }) });

async function read(address, options = {}) {
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await api.fetchApi(address, { ...options, headers });
    if (response.ok) return await response.json();
    return { error: `the server answers ${response.status}; start ComfyUI again` };
  } catch {
    return { error: "the server does not answer; is ComfyUI running?" };
  }
}
