/**
 * What runs said of nodes: status lines, errors, analyses. Kept by workflow, so that nothing lands on
 * a node of another one with the same number, and found again when nodes are built anew (undo).
 */

import { activeWorkflow, api, app, isOurs, nodeOfRun, toast } from "./comfyui.js";

const NOTHING = {};
/** Workflow -> node's number in runs -> what was said. @type {WeakMap<object, Map<string, any>>} */
const said = new WeakMap();
/** Run -> the workflow that it is of. @type {Map<string, object>} */
const workflows = new Map();

const ofWorkflow = (workflow) => {
  let found = said.get(workflow);
  if (!found) said.set(workflow, (found = new Map()));
  return found;
};

/** What the last run said of a node of the workflow in front. @param {string} id */
export const saidOf = (id) => ofWorkflow(activeWorkflow()).get(id) ?? NOTHING;

/** Everything that was said in the workflow in front. */
export const everythingSaid = () => ofWorkflow(activeWorkflow()).values();

/** What a node is told, with all that is before it: equal where a run takes it from the cache. */
function signature(prompt, id) {
  const inputs = Object.entries(prompt[id]?.inputs ?? {}).map(([name, value]) =>
    Array.isArray(value) && value[0] in prompt ? [name, value[1], signature(prompt, value[0])] : [name, value]);
  return JSON.stringify([prompt[id]?.class_type, inputs.sort()]);
}

/** Find what earlier runs said of nodes as they are now: after a reload, or from the cache. */
export async function recall() {
  const known = ofWorkflow(activeWorkflow());
  const { output } = await app.graphToPrompt();
  const open = Object.keys(output).filter((id) => output[id].class_type?.startsWith("LoraAlloy") && !known.has(id));
  if (!open.length) return;
  const answer = await api.fetchApi("/history?max_items=16");
  const told = new Map();
  for (const { prompt, outputs } of Object.values(await answer.json())) {
    for (const id in outputs) {
      const one = outputs[id]?.lora_alloy?.[0];
      if (one) told.set(signature(prompt[2], id), one);
    }
  }
  for (const id of open) {
    const one = told.get(signature(output, id));
    if (one) known.set(id, one);
  }
}

/** Hear what the server says, and tell `listener` of each node that it is about. */
export function hear(listener) {
  const queue = api.queuePrompt;
  api.queuePrompt = async function (...given) {
    const workflow = activeWorkflow();
    const answer = await queue.apply(this, given);
    if (answer?.prompt_id) workflows.set(answer.prompt_id, workflow);
    return answer;
  };
  const workflowOf = (detail) => workflows.get(detail.prompt_id) ?? activeWorkflow();
  const show = (workflow, id) => {
    const node = workflow === activeWorkflow() ? nodeOfRun(id) : undefined;
    if (node && isOurs(node)) listener(node);
    return node;
  };

  api.addEventListener("execution_start", ({ detail }) => {
    const workflow = workflowOf(detail);
    for (const [id, one] of ofWorkflow(workflow)) {
      if (one.error) {
        ofWorkflow(workflow).set(id, {});
        show(workflow, id);
      }
    }
  });
  api.addEventListener("executed", ({ detail }) => {
    const told = detail.output?.lora_alloy?.[0];
    if (!told) return;
    const workflow = workflowOf(detail);
    const id = String(detail.display_node ?? detail.node);
    ofWorkflow(workflow).set(id, { ...told });
    show(workflow, id);
  });
  api.addEventListener("execution_error", ({ detail }) => {
    if (!String(detail.node_type).startsWith("LoraAlloy")) return;
    const workflow = workflowOf(detail);
    const id = String(detail.node_id);
    const error = String(detail.exception_message).trim();
    ofWorkflow(workflow).set(id, { error });
    const node = show(workflow, id);
    toast(node?.title ?? "LoRA Alloy", error);
  });
}
