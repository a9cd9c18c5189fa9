/** Elements by hand: everything that is shown is text, never markup. */

/**
 * An element with properties, listeners (`onclick`), attributes (`aria-label`) and children.
 * @param {string} tag @param {Record<string, any>} [given] @param {...any} children @returns {any}
 */
export function el(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    if (name === "style") Object.assign(element.style, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== false && child != null));
  return element;
}

/** A button that only does what it says. */
export const button = (label, title, onclick, given = {}) =>
  el("button", { type: "button", title, onclick, ...given }, label);

/** A field for a factor. @param {string} label @param {(value: number) => void} change */
export function numberField(label, change) {
  const field = el("input", { type: "number", step: 0.05, className: "alloy-number", "aria-label": label });
  field.onchange = () => field.value !== "" && change(Number(field.value));
  return field;
}

/** A line beside what matters, or what is wrong. @param {string} text @param {boolean} [wrong] */
export const note = (text, wrong) => el("div", { className: wrong ? "alloy-error" : "alloy-note" }, text);

/** `12.6 M`, `48 k`: how many numbers. @param {number} count */
export function amount(count) {
  for (const [size, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (count >= Number(size)) return `${(count / Number(size)).toPrecision(3)} ${sign}`;
  }
  return String(count);
}
