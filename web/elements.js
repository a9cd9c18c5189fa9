/** Elements by hand: everything that is shown is text, never markup. */

/**
 * An element with properties, listeners (`onclick`), attributes (`aria-label`) and children.
 * @param {string} tag
 * @param {Record<string, any>} [given]
 * @param {...(Node | string | number | null | undefined | false)} children
 * @returns {any}
 */
export function el(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    if (name === "style") Object.assign(element.style, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== false && child != null).map((child) => /** @type {Node} */ (child)));
  return element;
}

/** A button that only does what it says. */
export const button = (label, title, onclick, given = {}) =>
  el("button", { type: "button", title, onclick, ...given }, label);

/** A line beside what matters, or what is wrong. @param {string} text @param {boolean} [wrong] */
export const note = (text, wrong) => el("div", { className: wrong ? "alloy-error" : "alloy-note" }, text);

/** `12.6 M`, `48 k`: how many numbers. @param {number} count */
export function amount(count) {
  for (const [size, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (count >= Number(size)) return `${(count / Number(size)).toPrecision(3)} ${sign}`;
  }
  return String(count);
}

/** `0.2 MB`, as the core writes it. @param {number} bytes */
export const megabytes = (bytes) => (bytes >= 1e5 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e3).toFixed(1)} kB`);

/** `8` or `8 (20), 4 (8)` of {value: how many}. @param {Record<string, number>} counts */
export function counted(counts) {
  const found = Object.entries(counts);
  return found.length === 1 ? found[0][0] : found.map(([value, count]) => `${value} (${count})`).join(", ");
}
