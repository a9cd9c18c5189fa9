/** What the scripts here know of each other's data, and of ComfyUI's page. Read by `tsc` only. */

export interface Source {
  name: string;
  drop_magnitude?: boolean;
  scale_from_metadata?: boolean;
}

/** [end of the name after the block's pattern, kind of layer, stored numbers] */
export type Layer = [string, string, number];

export interface Block {
  name: string;
  pattern: string | null;
  parameters: number;
  layers: Layer[];
}

export interface Group {
  name: string;
  component: string;
  parameters: number;
  blocks: Block[];
}

export interface Contents {
  error?: string;
  name: string;
  title: string;
  trigger_words: string[];
  facts: [string, string][];
  warnings: string[];
  notes: string[];
  groups: Group[];
  preview: boolean;
}

export interface Meaning {
  error?: string;
  notes?: string[];
  weights?: Record<string, number[]>;
  selected?: string[];
}

export type Cell = string | number | null;

/** Rows in groups: a line for each group, and its rows on demand. */
export interface Table {
  columns: [string, string][];
  groups: { cells: Cell[]; block?: string; rows?: Cell[][] }[];
}

export interface PanelOptions {
  kind: "block_weights" | "layers";
  /** Which panel it is, beyond the life of its node. */
  key: () => string;
  /** No text means no layer, and not all of them. */
  none?: boolean;
  get: () => string;
  set: (text: string) => void;
  source: () => Source | undefined;
  /** {block: share}, of an analysis. */
  energy: () => Record<string, number>;
  /** Its height may be another one. */
  changed: () => void;
}

/** `names` are the patterns of its blocks, `layers` the canonical names of all of their layers. */
export interface PanelRow {
  blocks: Block[];
  names: string[];
  layers: string[];
  row: HTMLElement;
  cells: { number: any; names: string[] }[];
  track?: any;
  number?: any;
  mute?: any;
  solo?: any;
}

/** LiteGraph's objects have more than is said here. */
export interface GraphNode {
  id: number | string;
  comfyClass?: string;
  title: string;
  graph: Graph;
  subgraph?: Graph;
  inputs: any[];
  widgets?: any[];
  size: [number, number];
  [other: string]: any;
}

export interface Graph {
  nodes: GraphNode[];
  getNodeById(id: number): GraphNode | null;
  subgraphs?: Map<string, Graph>;
  [other: string]: any;
}
