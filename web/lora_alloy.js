/** LoRA Alloy's side of the page: which node shows what. Each part has a file of its own. */

import { Panel } from "./blocks.js";
import { after, api, app, eachNode, isOurs, onWidget, setWidget, sourceOf, widgetOf } from "./comfyui.js";
import { el } from "./elements.js";
import { dress, faceOf } from "./face.js";
import { card } from "./facts.js";
import { forgetFiles, Rows } from "./rows.js";
import { everythingSaid, hear, recall, saidOf } from "./runs.js";
import { contentsOf } from "./server.js";

/** The text that a panel edits on each kind of node: [widget, its kind, the LoRA's input]. */
const PANELS = {
  LoraAlloyBlocks: ["block_weights", "block_weights", "lora"],
  LoraAlloyRankResize: ["layers", "layers", "lora"],
  LoraAlloyTopBlocks: ["always", "layers", "lora"],
};

/** {block: share of the energy} of a file, where an analysis in this workflow has measured it. */
function energyOf(source) {
  for (const one of everythingSaid().values()) {
    if (source && one.energy && one.lora === source.name) return one.energy;
  }
  return {};
}

/** The number of a node in runs: with those of the subgraphs around it. */
function runIdOf(node) {
  let id = String(node.id);
  for (let graph = node.graph; graph && !graph.isRootGraph && graph.inputNode; ) {
    let holder;
    eachNode((one) => (holder ??= one.subgraph === graph ? one : undefined));
    if (!holder) break;
    id = `${holder.id}:${id}`;
    graph = holder.graph;
  }
  return id;
}

/** Lines of the last run, or what went wrong in it. */
function showStatus(node) {
  const { lines = [], error } = saidOf(runIdOf(node));
  const told = error === node.alloyPanel?.message?.textContent; // The panel says so already.
  const shown = error
    ? told ? [] : [el("div", { className: "alloy-error", role: "alert" }, error)]
    : lines.map((line) => el("div", {}, line));
  if (shown.length || faceOf(node).widget) faceOf(node).show("status", ...shown);
}

/** The card of a loader, for the file that is chosen now. */
async function showFacts(node, again = false) {
  const source = sourceOf(node);
  const key = JSON.stringify(source ?? null);
  if (!source || (node.alloyShown === key && !again)) return;
  node.alloyShown = key;
  const contents = await contentsOf(source, again);
  if (node.alloyShown === key) faceOf(node).show("facts", card(contents, source, energyOf(source)));
}

function addPanel(node) {
  const [widget, kind, input] = PANELS[node.comfyClass];
  const face = faceOf(node);
  node.alloyPanel = new Panel({
    kind,
    key: `${node.comfyClass} ${node.id}`,
    get: () => String(widgetOf(node, widget)?.value ?? ""),
    set: (text) => setWidget(node, widget, text),
    source: () => sourceOf(node, input),
    energy: () => energyOf(sourceOf(node, input)),
    changed: () => face.measure(),
  });
  face.show("blocks", node.alloyPanel.element);
  onWidget(node, widget, () => node.alloyPanel.read());
}

function addRows(node) {
  const face = faceOf(node);
  const rows = new Rows(node, { energy: energyOf, changed: () => face.measure() });
  node.alloyPanel = rows;
  face.show("rows", rows.element);
  for (const name of ["rows", "weight_1", "weight_2"]) onWidget(node, name, () => rows.refresh());
}

/** Everything of a node anew: the graph, its widgets or what runs said may have changed. */
function refresh(node) {
  if (!isOurs(node)) return;
  faceOf(node).seat();
  node.alloyPanel?.refresh();
  if (node.comfyClass === "LoraAlloyLoad") showFacts(node);
  showStatus(node);
}

let waiting = 0;
/** All nodes, once for a burst of changes. */
function refreshAll() {
  clearTimeout(waiting);
  waiting = setTimeout(() => eachNode(refresh), 50);
}

/** Nodes that were just opened, or that a run took from the cache, as their last run left them. */
const remind = () => recall().then(refreshAll, () => {});

app.registerExtension({
  name: "LoRA Alloy",

  setup() {
    dress();
    hear((node) => {
      showStatus(node);
      if (saidOf(runIdOf(node)).energy) {
        eachNode((one) => {
          one.alloyPanel?.update?.();
          if (one.comfyClass === "LoraAlloyLoad") showFacts(one, true);
        });
      }
    });
    api.addEventListener("graphChanged", refreshAll);
    api.addEventListener("execution_success", remind);
  },

  nodeCreated(node) {
    if (!isOurs(node)) return;
    if (node.comfyClass === "LoraAlloyLoad") {
      faceOf(node).widen();
      for (const name of ["lora_name", "drop_magnitude", "scale_from_metadata"]) onWidget(node, name, refreshAll);
      showFacts(node);
    }
    if (PANELS[node.comfyClass]) {
      faceOf(node).widen();
      addPanel(node);
    }
    if (node.comfyClass === "LoraAlloyBlend") {
      faceOf(node).widen();
      addRows(node);
    }
    for (const method of ["onConfigure", "onConnectionsChange", "onAdded"]) after(node, method, refreshAll);
  },

  afterConfigureGraph() {
    refreshAll();
    setTimeout(remind, 500);
  },
  refreshComboInNodes() {
    forgetFiles();
    eachNode((node) => node.comfyClass === "LoraAlloyLoad" && showFacts(node, true));
  },
});
