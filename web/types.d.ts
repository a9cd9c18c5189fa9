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
  blocks: Block[];
}

export interface Contents {
  error?: string;
  name: string;
  bytes: number;
  family: string | null;
  recognised: string;
  spelling: string;
  title: string;
  trigger_words: string[];
  modules: number;
  ranks: Record<string, number>;
  kinds: Record<string, number>;
  dtypes: Record<string, number>;
  parameters: number;
  untouched: { kind: string; modules: number; reason: string; way_out: string }[];
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
