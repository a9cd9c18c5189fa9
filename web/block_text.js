/**
 * The texts that a panel edits: block weights and selectors. What they mean is the core's to say;
 * here what a panel could have written is written anew, and everything else stays as it stands.
 */

/** What can be weighed in a file: its blocks, and the layers in them. */
export class Units {
  /** @param {import("./types").Group[]} groups */
  constructor(groups) {
    /** Block's pattern -> its layers' patterns. @type {Map<string, string[]>} */
    this.blocks = new Map();
    /** Layer's pattern -> its block's. @type {Map<string, string>} */
    this.layers = new Map();
    /** `double_blocks` -> the patterns of its blocks. @type {Map<string, string[]>} */
    this.containers = new Map();
    for (const block of groups.flatMap((group) => group.blocks)) {
      const { pattern } = block;
      if (pattern === null) continue;
      const layers = block.layers.map(([end]) => pattern + end).filter((name) => /^[\w.]+$/.test(name));
      this.blocks.set(pattern, layers);
      for (const layer of layers) if (layer !== pattern) this.layers.set(layer, pattern);
      const container = numbered(pattern)?.container;
      if (container) this.containers.set(container, [...(this.containers.get(container) ?? []), pattern]);
    }
  }

  /** The blocks or layers that a pattern names; undefined where it is more than a list of them. @param {string} pattern */
  expand(pattern) {
    const container = this.containers.get(pattern.replace(/\.\*$/, ""));
    if (container && !this.blocks.has(pattern)) return container;
    const range = pattern.match(/^(.*\.)(\d+)-(\d+)(\..*)?$/);
    let names = [pattern];
    if (range) {
      const [low, high] = [Number(range[2]), Number(range[3])];
      if (high < low || high - low > 1000) return undefined;
      names = Array.from({ length: high - low + 1 }, (_, i) => range[1] + (low + i) + (range[4] ?? ""));
    }
    // Of other files of this model as well: not every number is here.
    const known = (name) => this.blocks.has(name) || this.layers.has(name) || this.containers.has(numbered(name)?.container);
    return names.every(known) ? names : undefined;
  }

  /** These names as few patterns: blocks in the network's order, then layers. @param {Iterable<string>} given */
  compress(given) {
    const names = new Set(given);
    const runs = new Map();
    for (const name of new Set([...this.blocks.keys(), ...this.layers.keys(), ...names])) {
      if (!names.has(name)) continue;
      const block = this.layers.get(name) ?? name;
      const end = name.slice(block.length);
      const { container, number } = numbered(block) ?? { container: block, number: -1 };
      const run = runs.get(`${container} ${end}`) ?? { container, end, numbers: [] };
      runs.set(`${container} ${end}`, run);
      run.numbers.push(number);
    }
    return [...runs.values()].flatMap(({ container, end, numbers }) => {
      if (numbers[0] < 0) return [container + end];
      const every = this.containers.get(container) ?? [];
      const whole = !end && every.length > 1 && every.every((name) => names.has(name));
      return whole ? [container] : ranges(numbers).map((range) => `${container}.${range}${end}`);
    });
  }
}

const numbered = (pattern) => {
  const found = pattern.match(/^(.*)\.(\d+)$/);
  return found && { container: found[1], number: Number(found[2]) };
};

/** `0-2`, `5` of 0, 1, 2, 5. @param {number[]} numbers */
function ranges(numbers) {
  const found = [];
  for (const number of numbers.sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last?.[1] === number - 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([low, high]) => (low === high ? `${low}` : `${low}-${high}`));
}

/** A number as texts have it. @param {number} value */
export const written = (value) => String(Number(value.toFixed(4)));

/** Block weights with one factor a line: `head` stays, `tail` is the panel's. */
export class Weights {
  /** @param {string} text @param {Units} units */
  constructor(text, units) {
    this.units = units;
    const lines = text.split(/[\n;]/).map((line) => line.trim()).filter(Boolean);
    const taken = lines.map((line) => this.taken(line));
    const start = taken.lastIndexOf(undefined) + 1;
    this.head = lines.slice(0, start);
    /** @type {Map<string, number>} */
    this.tail = new Map();
    for (const one of taken.slice(start)) one?.names.forEach((name) => this.set(name, one.value));
  }

  /** What a line sets, if it is a panel's. */
  taken(line) {
    const found = line.match(/^([\w.*-]+)\s*:\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)$/i);
    const names = found && this.units.expand(found[1]);
    return names ? { names, value: Number(found[2]) } : undefined;
  }

  /** A block's factor counts for all of its layers. */
  set(name, value) {
    for (const layer of this.units.blocks.get(name) ?? []) this.tail.delete(layer);
    this.tail.set(name, value);
    const block = this.units.layers.get(name);
    const above = block === undefined ? undefined : this.tail.get(block);
    if (!this.head.length && value === (above ?? 1)) this.tail.delete(name);
  }

  text() {
    const lines = [...new Set(this.tail.values())].flatMap((value) => {
      const names = [...this.tail.keys()].filter((name) => this.tail.get(name) === value);
      return this.units.compress(names).map((pattern) => `${pattern}: ${written(value)}`);
    });
    const deep = (line) => Number(this.units.layers.has(line.replace(/\.(\d+)-\d+/, ".$1").replace(/:.*/, "")));
    return [...this.head, ...lines.sort((a, b) => deep(a) - deep(b) || byNumbers(a, b))].join("\n");
  }
}

const byNumbers = new Intl.Collator("en", { numeric: true }).compare;

/** A selector of layers: the blocks that it names, and the rest as it stands. */
export class Selection {
  /** `none`: no text is no layer. @param {string} text @param {Units} units @param {boolean} [none] */
  constructor(text, units, none = false) {
    this.units = units;
    this.none = none;
    /** @type {Set<string>} */ this.includes = new Set();
    /** @type {Set<string>} */ this.excludes = new Set();
    /** @type {string[]} */ this.rest = [];
    for (const pattern of text.split(/[,\n]/).map((one) => one.trim()).filter(Boolean)) {
      const out = pattern.startsWith("-");
      const names = units.expand(out ? pattern.slice(1).trim() : pattern);
      if (!names) this.rest.push(pattern);
      for (const name of names ?? []) (out ? this.excludes : this.includes).add(name);
    }
  }

  /** Choose a block, or leave it out. @param {string} name @param {boolean} on */
  set(name, on) {
    const parts = [name, ...(this.units.blocks.get(name) ?? [])];
    const others = this.rest.some((one) => !one.startsWith("-"));
    const named = this.none || others || this.includes.size > 0;
    for (const part of parts) this.excludes.delete(part);
    if (on) {
      if (named) this.includes.add(name);
      return;
    }
    for (const part of parts) this.includes.delete(part);
    if (others || !named) this.excludes.add(name);
    // No text means no layer at all: the last one stays.
    else if (!this.includes.size && !this.none) this.includes.add(name);
  }

  text() {
    const out = this.units.compress(this.excludes).map((pattern) => `-${pattern}`);
    return [...this.units.compress(this.includes), ...this.rest, ...out].join(", ");
  }
}
