/** Everything asked of ComfyUI's page: the only file that knows its objects. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

export { api, app };

/** @typedef {import("./types").GraphNode} GraphNode */

/** @param {GraphNode | null | undefined} node */
export const isOurs = (node) => !!node?.comfyClass?.startsWith("LoraAlloy");

/** The graph that contains all others. @returns {import("./types").Graph} */
const rootGraph = () => app.rootGraph ?? app.graph;

/** The workflow in the foreground: an object of its own for each of the page's tabs. */
export const activeWorkflow = () => app.extensionManager?.workflow?.activeWorkflow ?? app;

/** Whether nodes are drawn with elements (Nodes 2.0) and not on the canvas. */
export const drawsElements = () => !!window.LiteGraph?.vueNodesMode;

/** The colours of the page now. */
export const pageTheme = () => (document.documentElement.classList.contains("dark-theme") ? "dark" : "light");

/** Every node of all graphs. @param {(node: GraphNode) => void} visit */
export function eachNode(visit) {
  for (const graph of [rootGraph(), ...(rootGraph()?.subgraphs?.values() ?? [])]) graph?.nodes?.forEach(visit);
}

/** The node that a run calls `3` or, inside of subgraphs, `7:3`. @returns {GraphNode | undefined} */
export function nodeOfRun(id) {
  let graph = rootGraph();
  /** @type {any} */
  let node;
  for (const part of id.split(":")) {
    node = graph?.getNodeById?.(Number(part));
    graph = node?.subgraph;
  }
  return node ?? undefined;
}

/** What a run calls a node. @param {GraphNode} node @returns {string} */
export function runIdOf(node) {
  const holder = holderOf(node.graph);
  return holder ? `${runIdOf(holder)}:${node.id}` : String(node.id);
}

/** Where a node is: the same when undo has built it anew. @param {GraphNode} node */
export const placeOf = (node) => `${node.graph?.id} ${node.id}`;

/** The node that stands for a subgraph, the first where there are several. @returns {any} */
function holderOf(graph) {
  let found;
  eachNode((node) => (found ??= node.subgraph && node.subgraph === graph ? node : undefined));
  return found;
}

/** The widget of that name. @param {GraphNode} node @param {string} name */
export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

/** Give a widget a value as if it had been typed, so that both renderers and saving see it. */
export function setWidget(node, name, value) {
  const widget = widgetOf(node, name);
  if (!widget || widget.value === value) return;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
  redraw();
}

/** Call `listener` after a method of an object, its own or its type's. @param {any} object */
export function after(object, method, listener) {
  const before = object?.[method];
  if (!object) return;
  object[method] = function (...given) {
    const result = before?.apply(this, given);
    listener(...given);
    return result;
  };
}

/** Call `listener` whenever a widget gets another value from whom ever. */
export const onWidget = (node, name, listener) => after(widgetOf(node, name), "callback", listener);

export const redraw = () => app.canvas?.setDirty?.(true, true);

/** Make what was done a step of undo. */
export function remember() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
}

export const toast = (summary, detail, severity = "error") =>
  app.extensionManager?.toast?.add?.({ severity, summary, detail, life: 12000 });

/** The node behind the wire of an input, through reroutes and subgraphs. @returns {GraphNode | undefined} */
export const originOf = (node, name) => behind(node, node.inputs?.findIndex((input) => input.name === name) ?? -1);

function behind(node, slot, depth = 0) {
  const link = linkOf(node.graph, node.inputs?.[slot]?.link);
  if (!link || depth > 50) return undefined;
  const holder = link.origin_id === node.graph.inputNode?.id && holderOf(node.graph);
  if (holder) return behind(holder, link.origin_slot, depth + 1);
  let origin = node.graph.getNodeById(link.origin_id);
  let from = link.origin_slot;
  while (origin?.subgraph && depth++ < 50) {
    const inner = linkOf(origin.subgraph, origin.subgraph.outputs?.[from]?.linkIds?.[0]);
    origin = inner && origin.subgraph.getNodeById(inner.origin_id);
    from = inner?.origin_slot;
  }
  const passes = origin?.type === "Reroute" || origin?.mode === 4;
  return passes && origin.inputs?.length ? behind(origin, 0, depth + 1) : (origin ?? undefined);
}

const linkOf = (graph, id) => (id == null ? undefined : (graph?.getLink?.(id) ?? graph?.links?.[id]));

/**
 * The file whose LoRA arrives at an input, as its loader reads it; through other nodes by their
 * first LoRA. Undefined where that cannot be seen before a run.
 * @returns {import("./types").Source | undefined}
 */
export function sourceOf(node, name = "") {
  let origin = name ? originOf(node, name) : node;
  for (let depth = 0; origin && depth < 50; depth++) {
    const file = widgetOf(origin, "lora_name");
    if (typeof file?.value === "string") {
      const told = (key) => widgetOf(origin, key)?.value === true;
      return { name: file.value, drop_magnitude: told("drop_magnitude"), scale_from_metadata: told("scale_from_metadata") };
    }
    const next = origin.inputs?.find((input) => input.type === "LORA_MODEL" && input.link != null);
    origin = next && originOf(origin, next.name);
  }
  return undefined;
}
