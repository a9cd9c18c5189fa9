/**
 * Everything asked of ComfyUI's page: the only file that knows its objects.
 *
 * Nodes, links and widgets are LiteGraph's; both renderers draw the same ones.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

export { api, app };

/** @typedef {import("./types").GraphNode} GraphNode */
/** @typedef {import("./types").Graph} Graph */

/** Whether a node is one of this pack's. @param {GraphNode | null | undefined} node */
export const isOurs = (node) => !!node?.comfyClass?.startsWith("LoraAlloy");

/** The graph that contains all others. @returns {Graph} */
export const rootGraph = () => app.rootGraph ?? app.graph;

/** The workflow in the foreground: an object of its own for each of the page's tabs. */
export const activeWorkflow = () => app.extensionManager?.workflow?.activeWorkflow ?? app;

/** Whether nodes are drawn with elements (Nodes 2.0) and not on the canvas. */
export const drawsElements = () => !!window.LiteGraph?.vueNodesMode;

/**
 * Every node of a graph and of the subgraphs in it, each once.
 * @param {(node: GraphNode) => void} visit
 */
export function eachNode(visit) {
  const graphs = [rootGraph(), ...(rootGraph()?.subgraphs?.values() ?? [])];
  for (const graph of graphs) for (const node of graph?.nodes ?? []) visit(node);
}

/**
 * The node that a run calls `3` or, inside of subgraphs, `7:3`.
 * @param {string | number} id
 * @returns {GraphNode | undefined}
 */
export function nodeOfRun(id) {
  let graph = rootGraph();
  /** @type {GraphNode | null | undefined} */
  let node;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById?.(Number(part));
    graph = node?.subgraph;
  }
  return node ?? undefined;
}

/** The widget of that name. @param {GraphNode} node @param {string} name */
export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

/**
 * Give a widget a value as if it had been typed, so that both renderers and saving see it.
 * @param {GraphNode} node @param {string} name @param {unknown} value
 */
export function setWidget(node, name, value) {
  const widget = widgetOf(node, name);
  if (!widget || widget.value === value) return;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
  redraw();
}

/**
 * Call `listener` whenever the widget gets another value from whom ever.
 * @param {GraphNode} node @param {string} name @param {() => void} listener
 */
export function onWidget(node, name, listener) {
  const widget = widgetOf(node, name);
  if (!widget) return;
  const callback = widget.callback;
  widget.callback = function (...given) {
    const result = callback?.apply(this, given);
    listener();
    return result;
  };
}

/** Chain a method of a node, its own or its type's. @param {any} node */
export function after(node, method, listener) {
  const before = node[method];
  node[method] = function (...given) {
    const result = before?.apply(this, given);
    listener(...given);
    return result;
  };
}

/** Draw the canvas anew with the next frame. */
export const redraw = () => app.canvas?.setDirty?.(true, true);

/** Make what was just done a step that can be undone. */
export function remember() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
}

/** A message that goes away by itself. */
export function toast(summary, detail, severity = "error") {
  app.extensionManager?.toast?.add?.({ severity, summary, detail, life: 12000 });
}

/**
 * Where the value of an input comes from: the node behind its wire, through reroutes and out of
 * subgraphs.
 * @param {GraphNode} node @param {string} name
 * @returns {GraphNode | undefined}
 */
export function originOf(node, name) {
  const slot = node.inputs?.findIndex((input) => input.name === name) ?? -1;
  return slot < 0 ? undefined : behind(node, slot, 0);
}

function behind(node, slot, depth) {
  const link = linkOf(node.graph, node.inputs?.[slot]?.link);
  if (!link || depth > 50) return undefined;
  if (link.origin_id === node.graph.inputNode?.id) {
    const holder = holderOf(node.graph);
    return holder && behind(holder, link.origin_slot, depth + 1);
  }
  const origin = node.graph.getNodeById(link.origin_id);
  if (origin?.isSubgraphNode?.()) return inside(origin, link.origin_slot, depth + 1);
  const passes = origin?.type === "Reroute" || origin?.mode === 4;
  return passes && origin.inputs?.length ? behind(origin, 0, depth + 1) : (origin ?? undefined);
}

/** The node inside of a subgraph that makes one of its outputs. */
function inside(holder, slot, depth) {
  const graph = holder.subgraph;
  const link = linkOf(graph, graph?.outputs?.[slot]?.linkIds?.[0]);
  const origin = link && graph.getNodeById(link.origin_id);
  if (origin?.isSubgraphNode?.() && depth < 50) return inside(origin, link.origin_slot, depth + 1);
  return origin ?? undefined;
}

function linkOf(graph, id) {
  if (id === null || id === undefined) return undefined;
  return graph?.getLink?.(id) ?? graph?.links?.get?.(id) ?? graph?.links?.[id];
}

/** The node that stands for a subgraph, the first where there are several. */
function holderOf(graph) {
  let found;
  eachNode((node) => {
    if (!found && node.subgraph === graph) found = node;
  });
  return found;
}

/**
 * The file whose LoRA arrives at an input, in the reading that its loader was told; through other
 * nodes by their first LoRA. Undefined where that cannot be seen before a run.
 * @param {GraphNode} node @param {string} [name]
 * @returns {import("./types").Source | undefined}
 */
export function sourceOf(node, name) {
  let origin = name ? originOf(node, name) : node;
  for (let depth = 0; origin && depth < 50; depth++) {
    const file = widgetOf(origin, "lora_name") ?? widgetOf(origin, "lora");
    if (typeof file?.value === "string") {
      const told = (key) => widgetOf(origin, key)?.value === true;
      return {
        name: file.value,
        drop_magnitude: told("drop_magnitude"),
        scale_from_metadata: told("scale_from_metadata"),
      };
    }
    const next = origin.inputs?.find((input) => input.type === "LORA_MODEL" && input.link != null);
    origin = next && originOf(origin, next.name);
  }
  return undefined;
}
