/** LoRA Alloy's side of the page: which node shows what. */

import { Panel } from "./blocks.js";
import { after, api, app, eachNode, isOurs, onWidget, pageTheme, placeOf, runIdOf, setWidget, sourceOf, toast, widgetOf } from "./comfyui.js";
import { el, note } from "./elements.js";
import { dress, faceOf } from "./face.js";
import { bars, card } from "./facts.js";
import { forgetFiles, Rows } from "./rows.js";
import { everythingSaid, hear, recall, saidOf } from "./runs.js";
import { contentsOf } from "./server.js";
import { tableOf } from "./tables.js";

/** The text that a panel edits on each kind of node: [widget, what it is]. */
const PANELS = {
  LoraAlloyBlocks: ["block_weights", "block_weights"],
  LoraAlloyRankResize: ["layers", "layers"],
  LoraAlloySelect: ["layers", "layers"],
  LoraAlloyTopBlocks: ["always", "layers"],
};

/** {block: share of the energy} of a file, where an analysis in this workflow has measured it. */
const energyOf = (source) => [...everythingSaid()].find((one) => one.energy && one.lora === source?.name)?.energy ?? {};

/** What the last run said: lines, a table, the chart's values, or what went wrong. */
function showSaid(node) {
  const said = saidOf(runIdOf(node));
  const face = faceOf(node);
  if (said === node.alloySaid) return;
  node.alloySaid = said;
  const { lines = [], error, table, energy } = said;
  const told = error && error === node.alloyPanel?.message?.textContent; // The panel says so already.
  const texts = error ? [note(error, true)] : lines.map((line) => el("div", {}, line));
  if (texts.length || face.widget) face.show("status", ...(told ? [] : texts));
  if (!table && !face.parts.table.firstChild) return;
  const toggle = (block) => switchBlock(sourceOf(node, "lora")?.name, block);
  const chart = energy ? [bars(energy, toggle)] : [];
  if (table) face.widen();
  face.show("table", ...chart, ...(table ? [tableOf(table, placeOf(node), toggle, () => face.measure())] : []));
}

function switchBlock(lora, block) {
  let count = 0;
  eachNode((node) => {
    if (!node.alloyPanel?.toggle || sourceOf(node, "lora")?.name !== lora) return;
    node.alloyPanel.toggle(block);
    count += 1;
  });
  if (!count) toast(block, "No panel of this LoRA is in the graph: add LoRA Blocks.", "info");
}

async function showFacts(node, again = false) {
  const source = sourceOf(node);
  const key = JSON.stringify(source ?? null);
  if (!source || (node.alloyShown === key && !again)) return;
  node.alloyShown = key;
  const contents = await contentsOf(source, again);
  if (node.alloyShown === key) faceOf(node).show("facts", card(contents, source, energyOf(source)));
}

function addPanel(node, [widget, kind]) {
  const face = faceOf(node);
  const source = () => sourceOf(node, "lora");
  const panel = (node.alloyPanel = new Panel({
    kind,
    key: () => placeOf(node),
    none: widget === "always",
    get: () => String(widgetOf(node, widget)?.value ?? ""),
    set: (text) => setWidget(node, widget, text),
    source,
    energy: () => energyOf(source()),
    changed: () => face.measure(),
  }));
  face.show("blocks", panel.element);
  onWidget(node, widget, () => panel.read());
}

function addRows(node) {
  const face = faceOf(node);
  const rows = (node.alloyPanel = new Rows(node, energyOf, () => face.measure()));
  face.show("rows", rows.element);
  for (const name of ["rows", "weight_1", "weight_2"]) onWidget(node, name, () => rows.refresh());
}

function refresh(node) {
  if (!isOurs(node)) return;
  faceOf(node).seat();
  node.alloyPanel?.refresh();
  if (node.comfyClass === "LoraAlloyLoad") showFacts(node);
  showSaid(node);
}

let waiting = 0;
function refreshAll() {
  clearTimeout(waiting);
  waiting = setTimeout(() => eachNode(refresh), 50);
}

/** Nodes that were just opened, or that a run took from the cache, as their last run left them. */
const remind = () => recall().then(refreshAll, () => {});

/** The cards anew: of files that may be others now, or whose energy is known now. */
const renew = () => eachNode((node) => node.comfyClass === "LoraAlloyLoad" && showFacts(node, true));

app.registerExtension({
  name: "LoRA Alloy",

  setup() {
    dress();
    hear((node) => {
      showSaid(node);
      if (!saidOf(runIdOf(node)).energy) return;
      eachNode((one) => one.alloyPanel?.update?.());
      renew();
    });
    api.addEventListener("graphChanged", refreshAll);
    api.addEventListener("execution_success", remind);
  },

  nodeCreated(node) {
    if (!isOurs(node)) return;
    const panel = PANELS[node.comfyClass];
    if (panel) addPanel(node, panel);
    if (node.comfyClass === "LoraAlloyBlend") addRows(node);
    if (node.comfyClass === "LoraAlloyLoad") showFacts(node);
    if (panel || /(Blend|Load)$/.test(node.comfyClass)) faceOf(node).widen();
    for (const name of ["lora_name", "drop_magnitude", "scale_from_metadata"]) onWidget(node, name, refreshAll);
    const theme = widgetOf(node, "theme");
    if (theme) theme.serializeValue = () => (theme.value === "auto" ? pageTheme() : theme.value);
    for (const method of ["onConfigure", "onConnectionsChange", "onAdded"]) after(node, method, refreshAll);
  },

  afterConfigureGraph() {
    refreshAll();
    setTimeout(remind, 500);
  },

  refreshComboInNodes() {
    forgetFiles();
    renew();
  },
});
