/**
 * What this pack shows on a node: one element below its widgets, with parts in a fixed order. It is a
 * widget without a value: nothing of it is saved.
 */

import { drawsElements, placeOf, redraw } from "./comfyui.js";
import { el } from "./elements.js";

const PARTS = ["facts", "rows", "blocks", "table", "status"];
const WIDTH = 340; // of a node that shows more than lines

/** @type {WeakMap<object, Face>} */
const faces = new WeakMap();
/** The element that was shown last for a place in the graph. @type {Map<string, HTMLElement>} */
const seats = new Map();

/** @param {import("./types").GraphNode} node @returns {Face} */
export function faceOf(node) {
  let face = faces.get(node);
  if (!face) faces.set(node, (face = new Face(node)));
  return face;
}

class Face {
  constructor(node) {
    this.node = node;
    this.parts = Object.fromEntries(PARTS.map((name) => [name, el("div", { className: `alloy-${name}` })]));
    this.inner = el("div", { className: "alloy" }, ...PARTS.map((name) => this.parts[name]));
    this.height = 0;
    /** @type {any} */
    this.widget = null;
    /** @type {any} */
    this.outer = null;
  }

  show(part, ...children) {
    this.parts[part].replaceChildren(...children);
    if (children.length && !this.widget) this.open();
    this.measure();
  }

  /** Add the widget; a node without anything to say has none. */
  open() {
    const outer = (this.outer = el("div", { className: "alloy-face", "data-capture-wheel": "true" }, this.inner));
    const height = () => this.height;
    this.widget = this.node.addDOMWidget("lora_alloy", "lora_alloy", outer, {
      serialize: false,
      hideOnZoom: false,
      margin: 4,
      getMinHeight: height,
      getMaxHeight: height,
      getValue: () => "",
      setValue: () => {},
    });
    this.widget.serialize = false;
    new ResizeObserver(() => this.measure()).observe(this.inner);
    // What means something here means nothing to the canvas behind.
    outer.addEventListener("wheel", (event) => scrolls(event) && event.stopPropagation());
    outer.addEventListener("keydown", (event) => event.stopPropagation());
  }

  measure() {
    const height = this.inner.offsetHeight ? this.inner.offsetHeight + 12 : 0;
    const { node } = this;
    if (!this.widget || Math.abs(height - this.height) < 1) return;
    const change = height - this.height;
    this.height = height;
    if (drawsElements() || !node.computeSize || node.flags?.collapsed) return;
    // A saved size has this room already: it only ever grows to the least that is needed.
    const size = Math.max(node.computeSize()[1], node.size[1] + Math.min(change, 0));
    if (size !== node.size[1]) node.setSize([node.size[0], size]);
    redraw();
  }

  /** Nodes 2.0 goes on showing the element of a node that undo has built anew: take its place. */
  seat() {
    const place = placeOf(this.node);
    const old = seats.get(place);
    if (!this.outer) return;
    if (!this.outer.isConnected && old?.isConnected) old.replaceWith(this.outer);
    seats.set(place, this.outer);
  }

  /** A new node is wide enough for what it shows. */
  widen() {
    if (this.node.size[0] < WIDTH) this.node.setSize([WIDTH, this.node.size[1]]);
  }
}

/** Whether what lies under the pointer can scroll that way. */
function scrolls(event) {
  const list = event.target.closest?.(".alloy-scroll");
  if (!list || event.ctrlKey || event.metaKey) return false;
  const room = list.scrollHeight - list.clientHeight;
  return event.deltaY < 0 ? list.scrollTop > 0 : list.scrollTop < room - 1;
}

/** The style sheet, once. */
export function dress() {
  const href = new URL("./style.css", import.meta.url).href;
  document.head.append(el("link", { rel: "stylesheet", href }));
}
