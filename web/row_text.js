/** The text `rows` of LoRA Blend, as nodes/rows.py reads it: a line and its block weights for each. */

import { written } from "./block_text.js";

/** @typedef {{name: string, weight: number, on: boolean, blocks: string[]}} Row */

const SOCKET = /^lora_([1-9]\d?)$/;

/** The number of a socket, 0 for a file. @param {string} name */
export const socketOf = (name) => Number(name.match(SOCKET)?.[1] ?? 0);

/** A row of which nothing is said. @param {string} name @returns {Row} */
export const plain = (name) => ({ name, weight: 1, on: true, blocks: [] });

/** @param {string} text @returns {Row[] | undefined} undefined where the text is none */
export function readRows(text) {
  /** @type {Row[]} */
  const rows = [];
  let free = 3;
  for (const line of text.split("\n").filter((one) => one.trim())) {
    if (/^\s/.test(line)) {
      if (!rows.length) return undefined;
      rows[rows.length - 1].blocks.push(line.trim());
      continue;
    }
    const colon = line.lastIndexOf(":");
    const entries = colon < 0 ? line.split(",").map((one) => ["", one]) : [[line.slice(0, colon).trim(), line.slice(colon + 1)]];
    for (const [name, rest] of entries) {
      const found = rest.trim().match(/^([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(\s+off)?$/i);
      if (!found) return undefined;
      rows.push({ name: name || `lora_${free++}`, weight: Number(found[1]), on: !found[2], blocks: [] });
    }
  }
  return rows;
}

/** @param {Row[]} rows @returns {string} empty where they say nothing that is not so anyway */
export function writeRows(rows) {
  const numbers = rows.map((row) => socketOf(row.name));
  const silent = rows.every((row, i) =>
    numbers[i] > (numbers[i - 1] ?? 0) && row.on && row.weight === 1 && !row.blocks.length);
  if (silent) return "";
  return rows.flatMap(({ name, weight, on, blocks }) => [
    `${name}: ${written(weight)}${on ? "" : " off"}`,
    ...blocks.map((line) => `  ${line}`),
  ]).join("\n");
}
